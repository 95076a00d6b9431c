"""Every number of a training's log can be drawn, too."""

from __future__ import annotations

import json

from petavox.pipeline.networks.log import LOG, TrainingLog
from twins.event_file import scalars


def test_a_torn_line_stays_alone(tmp_path):
    (tmp_path / LOG).write_text('{"step": 1}\n{"st')
    log = TrainingLog(tmp_path, 1, None)
    log.add(step=2)
    log.add(step=3)
    assert (tmp_path / LOG).read_text().splitlines() == ['{"step": 1}', '{"st', '{"step": 2}', '{"step": 3}']


def test_a_line_is_kept_reported_and_drawn(tmp_path):
    seen = []
    log = TrainingLog(tmp_path, 3, seen.append)
    log.add(event="start", next_step=3)
    log.add(step=4, loss=0.5, balanced_accuracy=[0.25, 0.75])
    assert [json.loads(line) for line in (tmp_path / LOG).read_text().splitlines()] == seen
    (path,) = tmp_path.glob("events.out.tfevents.*")
    _, start, drawn = scalars(path)
    assert start[0] == (2, 4), "a reader forgets what older files say of steps from 4 on"
    assert drawn == [(4, "loss", 0.5), (4, "balanced_accuracy/0", 0.25), (4, "balanced_accuracy/1", 0.75)]
