"""One training at a time works in a directory; a dead one is in nobody's way."""

from __future__ import annotations

import pytest

from petavox.pipeline.errors import RequestError
from petavox.workflows.models import training_lock as locks
from petavox.workflows.models.train import train_from_recipe
from petavox.workflows.models.training_lock import trainer_at_work, training_lock

from .conftest import Training


def test_a_second_training_is_refused_until_the_first_is_dead(tiny, tmp_path):
    directory = tmp_path / "training"
    with Training(directory, tiny, "--idle") as first:
        first.until('"loss"')
        number = first.process.pid
        for overrides in ([], ["training.schedule='constant'"]):
            with pytest.raises(RequestError, match=f"in use by process {number} on .*--out"):
                train_from_recipe(tiny, directory, overrides)
        assert f"process {number} " in trainer_at_work(directory)
        first.kill()
    assert trainer_at_work(directory) is None
    train_from_recipe(tiny, directory, ['training.schedule="constant"', "training.steps=3"])


def test_a_refused_training_writes_nothing(tiny, tmp_path):
    with training_lock(tmp_path / "training"):
        before = sorted((tmp_path / "training").iterdir())
        with pytest.raises(RequestError, match="Only one training"):
            train_from_recipe(tiny, tmp_path / "training")
        assert sorted((tmp_path / "training").iterdir()) == before
    train_from_recipe(tiny, tmp_path / "training")


def test_a_file_system_without_locks_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(locks, "try_lock", lambda file, how: "unknown")
    told = []
    with training_lock(tmp_path, told.append):
        pass
    assert "has no locks" in told[0]
