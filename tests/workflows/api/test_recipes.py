"""A recipe is the same whether a file or a dict says it, nested or dotted, in Python's values or in NumPy's."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from petavox.pipeline.errors import RequestError
from petavox.workflows.api.recipes import overrides_of, read, read_run
from petavox.workflows.recipes.segmentation_recipe import Recipe, load
from petavox.workflows.run_directory.layout import LEDGER

TEXT = """
[input]
affinities = "affinities.zarr"
[blocks]
shape = [5, 20, 36]
[agglomeration]
threshold = 0.3
small_size = 600
"""


@pytest.fixture
def file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "cells.toml").write_text(TEXT)
    return tmp_path / "cells.toml"


@pytest.mark.parametrize(
    "recipe",
    [
        {
            "input": {"affinities": "affinities.zarr"},
            "blocks": {"shape": [5, 20, 36]},
            "agglomeration": {"threshold": 0.3, "small_size": 600},
        },
        {
            "input.affinities": Path("affinities.zarr"),
            "blocks.shape": np.array([5, 20, 36]),
            "agglomeration": {"threshold": np.float64(0.3)},
            "agglomeration.small_size": np.int64(600),
        },
    ],
    ids=["nested", "dotted, NumPy"],
)
def test_a_dict_says_what_a_file_says(file, recipe):
    assert read(recipe, Recipe, {}) == load(file)


def test_values_are_laid_over_a_file_by_key_or_by_table(file):
    expected = load(file, ["agglomeration.threshold=0.4", "agglomeration.dust_size=9"])
    assert read(str(file), Recipe, {"agglomeration.threshold": 0.4, "agglomeration": {"dust_size": 9}}) == expected


def test_values_are_laid_over_a_dict_and_leave_it_as_it_was():
    recipe = {"input": {"affinities": "a.zarr"}, "agglomeration": {"threshold": 0.3}}
    assert (
        read(recipe, Recipe, {"agglomeration.threshold": 0.9}).agglomeration.threshold
        == read({"input.affinities": "a.zarr", "agglomeration.threshold": 0.9}, Recipe, {}).agglomeration.threshold
    )
    assert recipe == {"input": {"affinities": "a.zarr"}, "agglomeration": {"threshold": 0.3}}


@pytest.mark.parametrize(
    ("values", "rule"),
    [
        (
            {"agglomeration.treshold": 0.3},
            "'agglomeration.treshold'. Did you mean 'agglomeration.threshold'",
        ),
        ({"agglomeration.threshold": 0.1 + 0.2}, "agglomeration.threshold: must be a decimal"),
        ({"blocks.shape.z": 3}, "'shape' is a value, not a table"),
    ],
)
def test_what_does_not_fit_is_refused_by_its_key(file, values, rule):
    with pytest.raises(RequestError, match=rule):
        read(file, Recipe, values)


def test_the_directory_of_a_run_is_named_after_the_recipe_or_after_its_input(file, tmp_path):
    dictionary = {"input.affinities": "a/affinities.zarr"}
    assert read_run(file, None, None, None, {})[1] == file.parent / "runs" / "cells"
    assert read_run(dictionary, None, None, None, {})[1] == Path("runs/affinities")
    assert read_run(dictionary, tmp_path / "here", None, None, {})[1] == tmp_path / "here"
    (tmp_path / LEDGER).touch()
    assert read_run(file, None, None, None, {})[1] == tmp_path, "a run's own recipe continues it"


def test_workers_and_kind_of_cluster_win_over_the_recipe_only_where_they_are_given(file):
    said = {"cluster": {"kind": "serial", "workers": 7}}
    assert read_run(file, None, None, None, said)[0].cluster.workers == 7
    chosen = read_run(file, None, 3, "local", said)[0].cluster
    assert (chosen.kind, chosen.workers) == ("local", 3)


def test_values_become_what_the_command_line_takes(file):
    values = {"agglomeration": {"threshold": 0.4, "linkage": "quantile"}, "blocks.shape": (4, 4, 4)}
    assert load(file, overrides_of(values, 3, None)) == read_run(file, None, 3, None, values)[0]
