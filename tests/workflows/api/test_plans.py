"""A plan writes nothing, is a table of numbers, and says why a recipe cannot work."""

from __future__ import annotations

import pytest

import petavox
from petavox.pipeline.errors import VolumeError


def test_a_plan_has_the_stages_and_volumes_of_the_run_and_writes_nothing(recipe, finished, tmp_path):
    plan = petavox.plan(recipe, tmp_path / "run")
    assert plan.stages["stage"] == petavox.open_run(finished).stages["stage"]
    assert plan.stages["tasks"] == petavox.open_run(finished).stages["tasks"]
    assert plan.volumes["shape"] == [(10, 40, 36), (10, 40, 36)]
    assert plan.refusals == ()
    assert plan.hours > 0
    assert list(tmp_path.iterdir()) == []


def test_refusals_are_listed_and_shown_with_their_cure(recipe, tmp_path):
    plan = petavox.plan(recipe, tmp_path / "run", **{"cluster.memory": "1MB"})
    assert any("Make blocks.shape smaller" in refusal for refusal in plan.refusals)
    assert "Cannot work: " in repr(plan)
    assert "Cannot work: " in plan._repr_html_()


def test_what_is_missing_is_an_error(recipe, tmp_path):
    with pytest.raises(VolumeError, match="No volume"):
        petavox.plan(recipe, **{"input.affinities": tmp_path / "nothing.zarr"})
