"""What lies by mistake in a slab, a block or outside a mask where a run has nothing is found, and gone when mended."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
import torch
from fakes.shuffled import Silent

from petavox.pipeline.affinities.checkpoint import CheckpointConfig
from petavox.pipeline.affinities.unet import NetworkConfig, ResidualSymmetricUNet
from petavox.pipeline.geometry import Box
from petavox.pipeline.networks.checkpoint import save_checkpoint
from petavox.pipeline.volumes import VolumeSpec, create_volume, open_volume
from petavox.workflows.recipes.segmentation_recipe import load
from petavox.workflows.runs.audit import audit
from petavox.workflows.runs.run import run

SHAPE = (16, 16, 48)
VOXEL = (30.0, 6.0, 6.0)
CHUNK = (4, 16, 16)
PLACES = {"slab": (12, 0, 0), "block": (0, 0, 16), "masked": (4, 0, 32)}  # first voxel of a chunk that is not written


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Three blocks of four slabs: image in the first slabs of one, none in the second, no mask over the third."""
    folder = tmp_path_factory.mktemp("made")
    grey, mask = np.zeros(SHAPE, np.uint8), np.ones(SHAPE, np.uint8)
    grey[:4, :, :8] = np.random.default_rng(3).integers(1, 255, (4, 16, 8))
    mask[..., 32:] = 0
    for name, array in (("raw", grey), ("mask", mask)):
        spec = VolumeSpec(SHAPE, "uint8", VOXEL, chunk=CHUNK)
        create_volume(folder / f"{name}.zarr", spec).write(spec.box, array)
    torch.manual_seed(0)
    network = NetworkConfig(widths=(2, 3), stride=(1, 2, 2), offsets=((1, 0, 0), (0, 1, 0), (0, 0, 1)))
    config = CheckpointConfig(network=network, patch=(4, 8, 8), voxel_size=VOXEL)
    save_checkpoint(folder / "network", config, ResidualSymmetricUNet(network).state_dict())
    (folder / "recipe.toml").write_text(
        f"""
        input.raw = "raw.zarr"
        input.mask = "mask.zarr"
        model.checkpoint = "network"
        blocks.shape = [16, 16, 16]
        output.chunk = {list(CHUNK)}
        cluster.kind = "serial"
        cluster.memory = "4GB"
        """
    )
    run(load(folder / "recipe.toml"), folder / "run", Silent())
    return folder


@pytest.fixture
def directory(made, tmp_path):
    shutil.copytree(made / "run", tmp_path / "run")
    return tmp_path / "run"


def everything(directory):
    names = "affinities", "supervoxels", "segmentation"
    return {name: open_volume(directory / f"{name}.zarr").read(Box.of_shape(SHAPE)) for name in names}


@pytest.mark.parametrize("readable", [True, False])
@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("name", ["affinities", "supervoxels", "segmentation"])
def test_a_stray_chunk_is_overwritten(directory, name, place, readable):
    before, files = everything(directory), chunks(directory, name)
    volume = open_volume(directory / f"{name}.zarr", writable=True)
    box = Box.of_shape(CHUNK, PLACES[place])
    assert not volume.read(box).any()
    volume.write(box, np.full_like(volume.read(box), 77))
    stray = chunks(directory, name) - files
    assert stray
    for path in () if readable else stray:
        path.write_bytes(b"no chunk at all")
    assert audit(directory, Silent).findings.count == 1
    assert audit(directory, Silent, repair=True).exit_status == 0
    assert audit(directory, Silent).findings.count == 0
    assert chunks(directory, name) == files
    for kind, array in everything(directory).items():
        np.testing.assert_array_equal(array, before[kind])


def chunks(directory, name):
    return {path for path in (directory / f"{name}.zarr" / "0" / "c").rglob("*") if path.is_file()}
