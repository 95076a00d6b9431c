"""How far a training is, as `petavox status` says."""

from __future__ import annotations

import json

import pytest

from petavox.pipeline.errors import RequestError
from petavox.workflows.models.idle import IDLE
from petavox.workflows.models.train import train_from_recipe
from petavox.workflows.models.training_lock import training_lock
from petavox.workflows.models.training_status import TrainingProgress, is_training, training_status


def test_a_training_is_known_by_its_directory(tiny, tmp_path):
    assert not is_training(tmp_path)
    train_from_recipe(tiny, tmp_path / "training")
    assert is_training(tmp_path / "training")
    found = training_status(tmp_path / "training")
    assert (found.step, found.steps, found.time_left, found.trainer) == (6, 6, 0, None)
    last = json.loads((tmp_path / "training" / "training_log.jsonl").read_text().splitlines()[-1])
    assert (found.loss, found.learning_rate, found.seconds) == (last["loss"], last["learning_rate"], last["seconds"])


def test_a_training_without_an_end_has_no_time_left(tiny, tmp_path):
    train_from_recipe(tiny, tmp_path, [*IDLE, "training.steps=4"])
    log = tmp_path / "training_log.jsonl"
    log.write_text(log.read_text().replace('"steps": 4', f'"steps": {10**9}'))
    found = training_status(tmp_path)
    assert (found.step, found.steps, found.time_left) == (4, None, None)


def test_whoever_is_at_work_and_waits_is_named(tiny, tmp_path):
    train_from_recipe(tiny, tmp_path)
    with (tmp_path / "training_log.jsonl").open("a") as log:
        log.write(json.dumps({"event": "pause", "next_step": 6}) + "\n")
    assert not training_status(tmp_path).paused
    with training_lock(tmp_path):
        found = training_status(tmp_path)
    assert found.paused
    assert found.trainer.startswith("process ")


@pytest.mark.parametrize(("minutes", "left"), [(None, 45.0), (2.0, 45.0), (1.5, 30.0), (0.5, 0.0)])
def test_the_time_left_is_that_of_the_steps_or_of_the_minutes(minutes, left):
    progress = TrainingProgress()
    progress.add({"event": "start", "next_step": 0, "training": {"steps": 100, "minutes": minutes}})
    assert progress.time_left() is None
    progress.add({"step": 10, "loss": 0.5, "seconds_per_step": 0.5, "seconds": 60.0})
    assert progress.time_left() == left


def test_steps_that_a_kill_has_undone_are_not_counted():
    progress = TrainingProgress()
    progress.add({"event": "start", "next_step": 0, "training": {"steps": 100}})
    progress.add({"step": 10, "loss": 0.5, "seconds_per_step": 1.0})
    progress.add({"event": "resume", "next_step": 4, "training": {"steps": 100}})
    assert progress.last["step"] == 4
    assert progress.time_left() == 96


def test_a_log_without_a_beginning_is_refused(tmp_path):
    (tmp_path / "training_log.jsonl").write_text('{"step": 1, "loss": 0.5}\n')
    with pytest.raises(RequestError, match="has no beginning"):
        training_status(tmp_path)
