"""Networks from Python: an array is predicted as its volume is, a training's checkpoint predicts, models are listed."""

from __future__ import annotations

import tomllib
from pathlib import Path

import numpy as np
import pytest
import torch

import petavox
from petavox.pipeline.affinities.checkpoint import CheckpointConfig
from petavox.pipeline.affinities.unet import NetworkConfig, ResidualSymmetricUNet
from petavox.pipeline.errors import RequestError, VolumeError
from petavox.pipeline.geometry import Box
from petavox.pipeline.networks.checkpoint import save_checkpoint
from petavox.pipeline.volumes import VolumeSpec, create_volume

from .conftest import TRAINING

SHAPE = (6, 24, 20)
SIZE = (30.0, 6.0, 6.0)
ONE_THREAD = {"model.threads": 1}  # several would wait for one another: the network is that small
RAW = np.random.default_rng(3).integers(1, 256, SHAPE).astype(np.uint8)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """An untrained network."""
    torch.manual_seed(0)
    network = NetworkConfig(widths=(2, 3), stride=(1, 2, 2))
    config = CheckpointConfig(network=network, patch=(4, 8, 8), voxel_size=SIZE)
    folder = tmp_path_factory.mktemp("network")
    save_checkpoint(folder, config, ResidualSymmetricUNet(network).state_dict())
    return folder


@pytest.fixture
def volume(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    create_volume("raw.zarr", VolumeSpec(SHAPE, "uint8", SIZE, chunk=SHAPE)).write(Box.of_shape(SHAPE), RAW)
    return petavox.open("raw.zarr")


def test_an_array_is_predicted_as_its_volume_is_whatever_the_blocks(volume, model):
    array = petavox.predict(RAW, model=model, voxel_size=SIZE, progress=False, **ONE_THREAD)
    blocks = {"blocks.shape": (6, 12, 20)}
    stored = petavox.predict(volume, model=model, cluster="serial", progress=False, **blocks)
    assert (array.dtype, array.shape) == (np.uint8, (3, *SHAPE))
    assert array.any()
    np.testing.assert_array_equal(stored[:], array)
    assert Path(stored.path) == Path("runs/predict-raw/affinities.zarr").absolute()
    assert stored.spec.offsets == ((1, 0, 0), (0, 1, 0), (0, 0, 1))


def test_affinities_go_where_they_are_wanted_and_the_same_call_continues(volume, model, capfd):
    for _ in range(2):
        found = petavox.predict("raw.zarr", model=str(model), out=Path("there.zarr"), cluster="serial")
        assert Path(found.path) == Path("there.zarr").absolute()
    assert "Everything is done already." in capfd.readouterr().err
    assert petavox.open_run("runs/predict-there").affinities.path == found.path


def test_keys_of_the_recipe_hold_for_arrays_too(model):
    usual, turned = (
        petavox.predict(
            RAW[:, :16, :16], model=model, voxel_size=SIZE, progress=False, **ONE_THREAD, **{"model.variants": count}
        )
        for count in (1, 4)
    )
    assert (turned != usual).any()


@pytest.mark.parametrize(
    ("arguments", "rule"),
    [
        ({}, "needs voxel_size"),
        ({"voxel_size": SIZE, "out": "there.zarr"}, "there is no 'out'"),
        ({"voxel_size": (30, 6)}, "three lengths"),
    ],
)
def test_an_array_needs_a_voxel_size_and_goes_nowhere(model, arguments, rule):
    with pytest.raises(RequestError, match=rule):
        petavox.predict(RAW, model=model, progress=False, **arguments)


def test_raw_data_has_three_axes(model):
    with pytest.raises(VolumeError, match="z, y, x; the array has the shape"):
        petavox.predict(RAW[None], model=model, voxel_size=SIZE)


def test_a_volume_knows_its_voxel_size(volume, model):
    with pytest.raises(RequestError, match="belongs to an array"):
        petavox.predict(volume, model=model, voxel_size=SIZE)


def test_a_training_from_a_dict_leaves_what_one_from_a_file_leaves(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("tiny.toml").write_text(TRAINING)
    from_file = petavox.train("tiny.toml", progress=False)
    assert from_file == Path("training/tiny/checkpoint")
    from_dict = petavox.train(tomllib.loads(TRAINING), "other", progress=False)
    weights = [(folder / "weights.safetensors").read_bytes() for folder in (from_file, from_dict)]
    assert weights[0] == weights[1]
    with pytest.raises(RequestError, match="give out="):
        petavox.train(tomllib.loads(TRAINING))


def test_steps_of_a_training_are_shown_and_continued(tmp_path, capfd):
    (tmp_path / "tiny.toml").write_text(TRAINING)
    for steps in (2, 4):
        petavox.train(tmp_path / "tiny.toml", tmp_path / "training", **{"training.steps": steps})
        assert f"training: {steps} of {steps}" in capfd.readouterr().err


def test_shipped_models_are_listed():
    models = petavox.models()
    phantom = models[models["model"].index("phantom")]
    assert phantom["from"] == "shipped"
    assert phantom["voxel size, nm"] == (30.0, 6.0, 6.0)
    assert phantom["parameters"] > 10_000
