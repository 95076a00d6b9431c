import json

import pytest

from petavox.pipeline.errors import RequestError
from petavox.workflows.models.curves import read_points, training_curves

LOG = [
    {"event": "start", "next_step": 0},
    {"step": 1, "loss": 3.0},
    {"step": 2, "loss": 2.0, "validation_loss": 2.5, "adapted_rand_error": [0.4, 0.2, 0.3]},
    {"step": 3, "loss": 9.0},
    {"event": "resume", "next_step": 2},
    {"step": 3, "loss": 1.0},
]


def write(directory, lines):
    (directory / "training_log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return directory


def test_steps_that_were_done_again_count_once_and_lists_with_their_smallest(tmp_path):
    points = read_points(write(tmp_path, LOG) / "training_log.jsonl")
    assert points["loss"] == [(1, 3.0), (2, 2.0), (3, 1.0)]
    assert points["validation_loss"] == [(2, 2.5)]
    assert points["adapted_rand_error"] == [(2, 0.2)]


def test_a_training_that_began_anew_is_drawn_from_there_and_torn_lines_are_not(tmp_path):
    log = write(tmp_path, [*LOG, {"event": "start", "next_step": 0}, {"step": 1, "loss": 5.0}]) / "training_log.jsonl"
    log.write_text(log.read_text() + '{"step": 2, "lo')
    points = read_points(log)
    assert (points["loss"], points["validation_loss"]) == ([(1, 5.0)], [])


def test_scores_have_a_panel_of_their_own_where_there_are_any(tmp_path):
    def width(lines):
        return int.from_bytes(training_curves(write(tmp_path, lines))[16:20])

    assert width(LOG) == 2 * width(LOG[:2])


def test_a_log_without_a_step_and_no_log_are_refused(tmp_path):
    with pytest.raises(RequestError, match="cannot be read"):
        training_curves(tmp_path)
    with pytest.raises(RequestError, match="none yet"):
        training_curves(write(tmp_path, LOG[:1]))
