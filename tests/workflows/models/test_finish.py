"""A training without an end is finished from a copy: its own state stays, and the checkpoint is that of a known end."""

from __future__ import annotations

import pytest

from petavox.pipeline.affinities.checkpoint import load_checkpoint
from petavox.pipeline.errors import RequestError
from petavox.workflows.models.card import read_card
from petavox.workflows.models.finish import finish, parse_share
from petavox.workflows.models.idle import IDLE
from petavox.workflows.models.train import train_from_recipe
from petavox.workflows.models.training_lock import training_lock

STEPS = [*IDLE, "training.steps=20"]


@pytest.fixture
def endless(tiny, tmp_path):
    """The directory of a training that was stopped after 20 steps."""
    train_from_recipe(tiny, tmp_path / "endless", STEPS)
    return tmp_path / "endless"


def test_the_state_stays_and_the_checkpoint_is_that_of_a_training_with_this_end(tiny, endless, tmp_path):
    before = (endless / "state.safetensors").read_bytes()
    with training_lock(endless):  # it may be at work
        folder = finish(tiny, endless, 0.25)
    assert folder == endless / "checkpoint"
    assert (endless / "state.safetensors").read_bytes() == before
    known = ['training.schedule="constant"', "training.steps=25", "training.anneal=5"]
    expected = train_from_recipe(tiny, tmp_path / "known", known)
    assert (folder / "weights.safetensors").read_bytes() == (expected / "weights.safetensors").read_bytes()
    assert load_checkpoint(folder)[0].provenance == {"recipe": "tiny.toml", "anneal": 5, "steps": 25}
    assert read_card(folder).startswith("# endless\n")


def test_the_training_goes_on_as_if_it_had_not_been_finished(tiny, endless, tmp_path):
    finish(tiny, endless, 0.25)
    later = [*IDLE, "training.steps=24"]
    goes_on, expected = (train_from_recipe(tiny, folder, later) for folder in (endless, tmp_path / "whole"))
    assert (goes_on / "weights.safetensors").read_bytes() == (expected / "weights.safetensors").read_bytes()
    made = (endless / "checkpoint" / "weights.safetensors").read_bytes()
    finish(tiny, endless, 0.25)  # from the 24 steps that are done by now
    assert load_checkpoint(endless / "checkpoint")[0].provenance["steps"] == 30
    assert (endless / "checkpoint" / "weights.safetensors").read_bytes() != made


def test_a_finishing_that_was_stopped_goes_on(tiny, endless, tmp_path, monkeypatch):
    from petavox.pipeline.affinities.training import Trainer

    whole, told, step = tmp_path / "whole", [], Trainer._step
    train_from_recipe(tiny, whole, STEPS)
    expected = finish(tiny, whole, 0.25)

    def stopped(trainer, *arguments):
        trainer.stop()
        return step(trainer, *arguments)

    monkeypatch.setattr(Trainer, "_step", stopped)
    assert finish(tiny, endless, 0.25, tell=told.append) is None
    assert not (endless / "checkpoint").exists()
    monkeypatch.setattr(Trainer, "_step", step)
    folder = finish(tiny, endless, 0.5, tell=told.append)
    assert len(told) == 1
    assert "annealing of 5 steps after step 20" in told[0]
    assert (folder / "weights.safetensors").read_bytes() == (expected / "weights.safetensors").read_bytes()


def test_minutes_of_the_recipe_do_not_end_a_finishing(tiny, endless):
    tiny.write_text(tiny.read_text().replace("steps = 6", "minutes = 1e-9"))
    assert load_checkpoint(finish(tiny, endless, 0.05))[0].provenance["steps"] == 21


def test_what_cannot_be_finished_is_refused(tiny, endless, tmp_path):
    with pytest.raises(RequestError, match="holds none"):
        finish(tiny, tmp_path / "nowhere", 0.05)
    assert not (tmp_path / "nowhere").exists()
    train_from_recipe(tiny, tmp_path / "cosine")
    with pytest.raises(RequestError, match="falls to 0 by itself"):
        finish(tiny, tmp_path / "cosine", 0.05)
    with training_lock(endless / "finish"), pytest.raises(RequestError, match="finish is in use by"):
        finish(tiny, endless, 0.05)
    with pytest.raises(RequestError, match="seed was 0"):
        finish(tiny, endless, 0.05, ["training.seed=1"])


@pytest.mark.parametrize("text", ["5", "0%", "101%", "-5%", "nan%", "a%", "%"])
def test_a_share_is_a_percentage(text):
    assert parse_share("5%") == 0.05
    assert parse_share("0.5%") == 0.005
    with pytest.raises(RequestError, match="one such as"):
        parse_share(text)
