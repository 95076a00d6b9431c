"""Fingerprints change with everything that a result depends on, and with nothing else."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from pydantic import Field

from petavox.tasks.contract import TaskConfig
from petavox.workflows.stages.fingerprint import differences, ingredients
from petavox.workflows.stages.stage import Stage


class Config(TaskConfig):
    raw: str = "/data/em.zarr"
    output: str = "/runs/one/out.zarr"
    threshold: str = "0.5"
    inner: dict[str, str] = Field(default={"mask": "/data/mask.zarr"})


FIRST = Stage("first", "predict", 1, Config(), (1, 1, 4))
SECOND = Stage("second", "relabel", 1, Config(), (1, 1, 4), {"first": lambda index: [index]})
RUN = Path("/runs/one")
IDENTITIES = {"/data/em.zarr": "abc", "/data/mask.zarr": "def"}


def fingerprints(first=FIRST, second=SECOND, directory=RUN, identities=IDENTITIES):
    return {name: mark for name, (mark, _) in ingredients([first, second], directory, identities).items()}


def with_config(stage, **fields):
    return replace(stage, config=stage.config.model_copy(update=fields))


@pytest.mark.parametrize(
    ("changed", "stages"),
    [
        ({"first": with_config(FIRST, threshold="0.6")}, {"first", "second"}),
        ({"second": with_config(SECOND, threshold="0.6")}, {"second"}),
        ({"first": replace(FIRST, version=2)}, {"first", "second"}),
        ({"identities": {**IDENTITIES, "/data/em.zarr": "other"}}, {"first", "second"}),
        ({"identities": {**IDENTITIES, "/data/mask.zarr": "other"}}, {"first", "second"}),
        ({"second": with_config(SECOND, output="/elsewhere/out.zarr")}, {"second"}),
    ],
)
def test_a_change_reaches_its_stage_and_what_depends_on_it(changed, stages):
    before, after = fingerprints(), fingerprints(**changed)
    assert {name for name in before if before[name] != after[name]} == stages


def test_neither_the_place_of_the_run_nor_that_of_its_inputs_matters():
    moved = {"output": "/moved/out.zarr", "raw": "/other/em.zarr"}
    identities = {"/other/em.zarr": "abc", "/data/mask.zarr": "def"}
    first, second = with_config(FIRST, **moved), with_config(SECOND, **moved)
    assert fingerprints(first, second, Path("/moved"), identities) == fingerprints()


def test_differences_name_the_field_its_old_value_and_its_new_one():
    old = ingredients([FIRST, SECOND], RUN, IDENTITIES)
    first = with_config(replace(FIRST, version=3), threshold="0.6")
    new = ingredients([first, SECOND], RUN, {**IDENTITIES, "/data/mask.zarr": "other"})
    assert list(differences(old["first"][1], new["first"][1])) == [
        "its code changed (version 1 → 3)",
        "threshold 0.5 → 0.6",
        "the data behind inner.mask changed",
    ]
    assert list(differences(old["second"][1], new["second"][1])) == ["the data behind inner.mask changed"]
