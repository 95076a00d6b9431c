"""The recipe of a run: what it asks for hangs together, thresholds are exact, paths are found from anywhere."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from petavox.pipeline.errors import RequestError
from petavox.workflows.recipes import strict_toml
from petavox.workflows.recipes.segmentation_recipe import Recipe, load
from petavox.workflows.stages.places import Places

RAW = "[input]\nraw = 'em.zarr'\n[model]\ncheckpoint = 'snemi3d'\n"
AFFINITIES = "[input]\naffinities = 'affinities.zarr'\n"


def recipe(tmp_path, text, *overrides) -> Recipe:
    path = tmp_path / "recipe.toml"
    path.write_text(text)
    return load(path, overrides)


def test_input_paths_are_relative_to_the_recipe_and_urls_stay(tmp_path):
    assert recipe(tmp_path, RAW).input.raw.path == str(tmp_path / "em.zarr")
    assert recipe(tmp_path, RAW, "input.raw=../em.zarr").input.raw.path == str(tmp_path.parent / "em.zarr")
    assert recipe(tmp_path, RAW, "input.raw=s3://bucket/em.zarr").input.raw.path == "s3://bucket/em.zarr"


def test_the_sign_of_the_home_folder_is_expanded(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    asked = recipe(tmp_path, RAW, "input.raw=~/em.zarr", "output.segmentation=~/out.zarr")
    assert asked.input.raw.path == str(tmp_path / "home" / "em.zarr")
    assert Places.of(asked, tmp_path / "run").segmentation == str(tmp_path / "home" / "out.zarr")


def test_the_resolved_recipe_means_the_same_from_any_folder(tmp_path):
    asked = recipe(tmp_path, RAW + "[evaluate]\ntruth = 'truth.zarr'\nbox = [[0, 0, 0], [1, 2, 3]]\n")
    elsewhere = tmp_path / "runs" / "one"
    elsewhere.mkdir(parents=True)
    (elsewhere / "recipe.toml").write_text(strict_toml.dump(asked))
    assert load(elsewhere / "recipe.toml") == asked


@given(st.integers(0, 10**6))
def test_thresholds_are_the_decimals_that_were_written(tmp_path_factory, millionths):
    written = f"{Decimal(millionths) / 10**6:f}"
    read = recipe(tmp_path_factory.mktemp("recipe"), AFFINITIES, f"supervoxels.high={written}", "supervoxels.low=0")
    assert read.supervoxels.high == Decimal(written)


@pytest.mark.parametrize(
    ("text", "overrides", "complaint"),
    [
        ("[input]\n", [], "exactly one of 'raw', 'affinities' and 'run'"),
        (RAW, ["input.affinities=a.zarr"], "exactly one of 'raw', 'affinities' and 'run'"),
        ("[input]\nraw = 'em.zarr'\n", [], r"add \[model\] with checkpoint"),
        (AFFINITIES, ["model.checkpoint=x"], r"\[model\] has nothing to do"),
        (RAW, ["input.offsets=[[1,0,0],[0,1,0],[0,0,1]]"], "with 'raw' the checkpoint has them"),
        (RAW, ["supervoxels.method=mutex"], "'mutex' needs long-range affinities"),
        (RAW, ["model.mean=120.0"], "'mean' and 'deviation' are given together"),
        (AFFINITIES, ["supervoxels.low=0.5", "supervoxels.high=0.4"], "'low' must not exceed 'high'"),
        (AFFINITIES, ["agglomeration.threshold=1.5"], r"decimal in \[0, 1\] with at most six places; found 1.5"),
        (AFFINITIES, ["agglomeration.threshold=0.1234567"], "at most six places"),
        (AFFINITIES, ["agglomeration.threshold='0.5'"], "must be a decimal"),
        (AFFINITIES, ["agglomeration.linkage=median"], "should be 'mean', 'quantile' or 'multicut'; found 'median'"),
        (AFFINITIES, ["agglomeration.small_size=9", "agglomeration.threshold=0.1"], "must not exceed 'threshold'"),
        (AFFINITIES, ["blocks.shape=[1, 2]"], "three integers in z, y, x order"),
        (AFFINITIES, ["blocks.shape=[0, 1, 1]"], "greater than 0"),
        (AFFINITIES, ["cluster.kind=cloud"], "'serial', 'local' or 'slurm'"),
        (AFFINITIES, ["cluster.memory=lots"], "must be a size"),
        (AFFINITIES, ["cluser.kind=serial"], "Did you mean 'cluster'"),
    ],
)
def test_what_does_not_hang_together_is_refused(tmp_path, text, overrides, complaint):
    with pytest.raises(RequestError, match=complaint):
        recipe(tmp_path, text, *overrides)


def test_metadata_stand_beside_the_path_or_in_its_table_and_both_are_one_recipe(tmp_path):
    beside = recipe(tmp_path, RAW, "input.voxel_size=[30, 6, 6.5]", "input.channel=0", "input.level=1")
    table = recipe(tmp_path, RAW, "input.raw={path='em.zarr', voxel_size=[30, 6, 6.5], channel=0, level=1}")
    assert beside == table
    assert beside.input.raw.laid_over == {"level": 1, "voxel_size": (30, 6, 6.5), "channel": 0}
    (tmp_path / "kept.toml").write_text(strict_toml.dump(beside))
    assert load(tmp_path / "kept.toml") == beside


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["input.voxel_size=[30, 6]"], "input.raw.voxel_size"),
        (["input.voxel_sice=[30, 6, 6]"], "Did you mean 'input.raw.voxel_size'?"),
        (["input.raw={path='em.zarr', level=1}", "input.level=2"], "'level' is given twice: beside 'raw' and in its"),
        (["input.offset_nm=[0, 0, 0]", "input.offset_voxels=[0, 0, 0]"], "given once: as 'offset_nm' or as"),
        (["input.affinities=a.zarr", "input.axes=zyx"], "'axes' describes 'raw' or 'affinities': name one of them"),
    ],
)
def test_metadata_that_cannot_be_meant_are_refused(tmp_path, overrides, said):
    with pytest.raises(RequestError) as refused:
        recipe(tmp_path, RAW, *overrides)
    assert said in str(refused.value)


def test_affinities_need_all_their_channels(tmp_path):
    with pytest.raises(RequestError, match="affinities need all of theirs"):
        recipe(tmp_path, "[input]\naffinities = 'a.zarr'\nchannel = 0\n")


@pytest.mark.parametrize(
    ("source", "moving", "written"),
    [
        ({"run": "/data/run"}, "/data/run", {"run": "../.."}),
        ({"run": "/elsewhere/run"}, "/data/run", {"run": "/elsewhere/run"}),
        ({"affinities": "/data/run/a.zarr"}, "/data/run", {"affinities": "../../a.zarr"}),
        ({"affinities": "/data/a.zarr"}, "/data/run", {"affinities": "/data/a.zarr"}),
        ({"affinities": "s3://bucket/a.zarr"}, "/data/run", {"affinities": "s3://bucket/a.zarr"}),
        ({"affinities": "/data/run/a.zarr"}, "/data/other", {"affinities": "/data/run/a.zarr"}),
    ],
)
def test_a_source_that_moves_with_the_folder_of_a_recipe_is_named_from_there(source, moving, written):
    recipe = Recipe.model_validate({"input": source})
    found = recipe.written_in(Path("/data/run/cuts/one"), moving)
    assert found == Recipe.model_validate({"input": written})
