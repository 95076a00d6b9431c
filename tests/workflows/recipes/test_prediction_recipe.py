"""`petavox predict`: affinities of a raw volume by a run of their own, that can be continued and looked at."""

import json
import sys

import numpy as np
import pytest
import torch
from fakes.shuffled import Silent

from petavox.pipeline.affinities.checkpoint import CheckpointConfig
from petavox.pipeline.affinities.offsets import NEAREST
from petavox.pipeline.affinities.unet import NetworkConfig, ResidualSymmetricUNet
from petavox.pipeline.errors import RequestError
from petavox.pipeline.geometry import Box
from petavox.pipeline.networks.checkpoint import save_checkpoint
from petavox.pipeline.volumes import VolumeSpec, create_volume, open_volume
from petavox.tasks import predict as task
from petavox.workflows import cli
from petavox.workflows.analysis.tune import tune
from petavox.workflows.recipes.prediction_recipe import name_of, prediction
from petavox.workflows.recipes.segmentation_recipe import Recipe
from petavox.workflows.recipes.tuning_grid import TuningGrid

SHAPE = (4, 16, 32)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Raw data, black in its right half, and a network; the current folder."""
    torch.manual_seed(0)
    network = NetworkConfig(widths=(2, 3), stride=(1, 2, 2))
    config = CheckpointConfig(network=network, patch=(4, 8, 8), voxel_size=(30.0, 6.0, 6.0))
    save_checkpoint(tmp_path / "network", config, ResidualSymmetricUNet(network).state_dict())
    grey = np.random.default_rng(0).integers(1, 255, SHAPE, dtype=np.uint8)
    grey[..., 16:] = 0
    raw = create_volume(tmp_path / "raw.zarr", VolumeSpec(SHAPE, "uint8", (30.0, 6.0, 6.0), chunk=(4, 8, 8)))
    raw.write(Box.of_shape(SHAPE), grey)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def petavox(monkeypatch, capfd):
    """Runs the command in this process: its exit status, its result, and what it said."""

    def run(*more):
        options = ["--checkpoint", "network", "--cluster", "serial", "--set", "blocks.shape=[4,8,8]", "--json"]
        monkeypatch.setattr(sys, "argv", ["petavox", "predict", "raw.zarr", "made/affinities.zarr", *options, *more])
        with pytest.raises(SystemExit) as exited:
            cli.main()
        out, err = capfd.readouterr()
        return exited.value.code, json.loads(out or "null"), err

    return run


def test_affinities_are_made_and_nothing_else(folder, petavox):
    status, result, _ = petavox()
    assert (status, result["segmentation"]) == (0, None)
    assert [stage["name"] for stage in result["stages"]] == ["predict"]
    assert result["affinities"] == str(folder / "made" / "affinities.zarr")
    assert sorted(path.name for path in (folder / "made").iterdir()) == ["affinities.zarr"]
    made = open_volume(folder / "made" / "affinities.zarr")
    assert (made.spec.shape, made.spec.offsets) == (SHAPE, NEAREST)
    assert made.read(made.spec.box)[..., :16].std() > 0
    assert (folder / "runs" / "affinities" / "report.html").exists()


def test_blocks_without_image_are_skipped_and_recorded(folder, petavox):
    _, result, _ = petavox()
    (stage,) = result["stages"]
    assert (stage["done"], stage["empty"], stage["tasks"]) == (6, 2, 8)
    assert not open_volume(folder / "made" / "affinities.zarr").read(Box.of_shape(SHAPE))[..., 24:].any()


def test_the_same_command_continues_where_it_was_stopped(folder, petavox, monkeypatch):
    asked, predict = [], task.run

    def stopping(config, index):
        asked.append(index)
        if len(asked) == 4:
            raise KeyboardInterrupt
        return predict(config, index)

    monkeypatch.setattr(task, "run", stopping)
    assert petavox()[0] == 130
    assert petavox()[0] == 0
    assert len(asked) < 4 + 8  # a call of several blocks counts when it has ended
    expected = open_volume(folder / "made" / "affinities.zarr").read(Box.of_shape(SHAPE))
    assert petavox("--run", "again", "--set", "output.affinities=again.zarr")[0] == 0
    np.testing.assert_array_equal(open_volume(folder / "again" / "again.zarr").read(Box.of_shape(SHAPE)), expected)
    _, _, said = petavox()
    assert "Everything is done already" in said


def test_thresholds_are_chosen_for_affinities_alone(folder, petavox):
    petavox()
    labels = create_volume(folder / "truth.zarr", VolumeSpec(SHAPE, "uint64", (30.0, 6.0, 6.0)))
    labels.write(labels.spec.box, np.random.default_rng(0).integers(0, 3, SHAPE).astype(np.uint64))
    truth = f"evaluate.truth={folder / 'truth.zarr'}"
    tuning = tune(folder / "runs" / "affinities", grid=TuningGrid(), progress=Silent(), split="none", overrides=[truth])
    assert tuning.chosen.adapted_rand_error < 1


def test_what_lies_at_the_place_of_the_volume_is_not_touched(folder, petavox):
    (folder / "made" / "affinities.zarr").mkdir(parents=True)
    status, _, said = petavox()
    assert status == 2
    assert "exists and was not made by this run" in said


def test_a_mask_says_where_to_predict_and_must_cover_the_raw_data(folder, petavox):
    spec = VolumeSpec(SHAPE, "uint8", (30.0, 6.0, 6.0), chunk=(4, 8, 8))
    mask = create_volume(folder / "mask.zarr", spec)
    mask.write(Box((0, 0, 0), (4, 8, 8)), np.ones((4, 8, 8), np.uint8))
    create_volume(folder / "flat.zarr", VolumeSpec((1, 16, 32), "uint8", (30.0, 6.0, 6.0)))
    status, _, said = petavox("--set", "input.mask=flat.zarr")
    assert status == 2
    assert "A mask covers all that is computed; along z" in said
    (stage,) = petavox("--set", "input.mask=mask.zarr")[1]["stages"]
    assert (stage["done"], stage["masked"]) == (1, 7)
    status, _, said = petavox()
    assert status == 2
    assert "begun otherwise: input.mask is " in said


def test_settings_are_those_of_a_recipe(folder):
    recipe = prediction("raw.zarr", "s3://bucket/affinities.zarr", "snemi3d", ["model.variants=8", "cluster.gpus=1"])
    assert (recipe.input.raw.path, recipe.model.checkpoint) == (str(folder / "raw.zarr"), "snemi3d")
    assert (recipe.output.affinities, recipe.output.until) == ("s3://bucket/affinities.zarr", "affinities")
    assert (recipe.model.variants, recipe.cluster.gpus) == (8, 1)
    with pytest.raises(RequestError, match=r"petavox predict: unknown key 'model.variant'. .*model.variants"):
        prediction("raw.zarr", "out.zarr", "snemi3d", ["model.variant=8"])


@pytest.mark.parametrize(
    ("out", "name"), [("a/b.c.zarr", "b"), ("s3://bucket/x.zarr/", "x"), (".zarr", "predict"), ("made", "made")]
)
def test_a_run_is_named_after_its_volume(out, name):
    assert name_of(out) == name


@pytest.mark.parametrize("content", [{"input": {"affinities": "a"}}, {"evaluate": {"truth": "t"}}])
def test_a_run_that_ends_with_affinities_starts_from_raw_data_and_scores_nothing(content):
    recipe = {"input": {"raw": "r"}, "model": {"checkpoint": "c"}, "output": {"until": "affinities"}}
    Recipe.model_validate(recipe)
    without_model = {key: value for key, value in recipe.items() if key != "model" or "input" not in content}
    with pytest.raises(ValueError, match="starts from raw data and scores nothing"):
        Recipe.model_validate({**without_model, **content})
