"""A network is used on voxels of the size that it was trained on, or the difference is said, or it is refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from fakes.shuffled import Silent

from petavox.pipeline.affinities.checkpoint import CheckpointConfig
from petavox.pipeline.affinities.unet import NetworkConfig, ResidualSymmetricUNet
from petavox.pipeline.errors import RequestError, VolumeError
from petavox.pipeline.geometry import Box
from petavox.pipeline.networks.checkpoint import save_checkpoint
from petavox.pipeline.volumes import VolumeSpec, create_volume
from petavox.workflows.planning.plan import make_plan
from petavox.workflows.planning.refusals import check
from petavox.workflows.planning.totals import estimate
from petavox.workflows.planning.unit_costs import shipped
from petavox.workflows.recipes.segmentation_recipe import load
from petavox.workflows.runs.run import run

SHAPE = (4, 16, 16)
TRAINED = (30.0, 6.0, 6.0)


def make_volume(path, dtype="uint8", shape=SHAPE, **spec):
    volume = create_volume(path, VolumeSpec(shape, dtype, **{"voxel_size": TRAINED, "chunk": shape, **spec}))
    volume.write(Box.of_shape(shape), np.random.default_rng(3).integers(1, 255, shape).astype(dtype))


@pytest.fixture
def folder(tmp_path):
    """A folder with a network for voxels of 30 × 6 × 6 nm, and a recipe that uses it on raw data still to be made."""
    torch.manual_seed(0)
    network = NetworkConfig(widths=(2, 3), stride=(1, 2, 2), offsets=((1, 0, 0), (0, 1, 0), (0, 0, 1)))
    config = CheckpointConfig(network=network, patch=(4, 8, 8), voxel_size=TRAINED)
    save_checkpoint(tmp_path / "network", config, ResidualSymmetricUNet(network).state_dict())
    (tmp_path / "recipe.toml").write_text(
        'input.raw = "raw.zarr"\nmodel.checkpoint = "network"\nblocks.shape = [4, 16, 16]\ncluster.kind = "serial"\n'
        'cluster.memory = "4GB"'
    )
    return tmp_path


def plan(folder, *overrides):
    return make_plan(load(folder / "recipe.toml", overrides), folder / "run")


def notes(found):
    return [line for line in estimate(found, shipped()).notes if "trained on voxels" in line]


@pytest.mark.parametrize("size", [TRAINED, (29.0, 6.2, 6.0), (31.4, 5.8, 6.2)])
def test_nothing_is_said_of_a_difference_below_five_percent(folder, size):
    make_volume(folder / "raw.zarr", voxel_size=size)
    found = plan(folder)
    check(found, new=True)
    assert notes(found) == []


@pytest.mark.parametrize(("size", "axis"), [((31.5, 6, 6), "z"), ((30, 4.1, 6), "y"), ((30, 6, 8.9), "x")])
def test_a_difference_from_five_percent_on_is_said_by_plan_and_run(folder, size, axis):
    make_volume(folder / "raw.zarr", voxel_size=size)
    (line,) = notes(plan(folder))
    for part in ("'", "30 × 6 × 6 nm", " × ".join(f"{n:g}" for n in size), "raw.zarr", f"along {axis}"):
        assert part in line
    said = Silent()
    assert run(load(folder / "recipe.toml"), folder / "run", said).failed == 0
    assert line in said.lines


@pytest.mark.parametrize(("size", "axis"), [((45, 6, 6), "z"), ((30, 4, 6), "y"), ((3000, 600, 900), "x")])
def test_a_factor_of_one_and_a_half_along_any_axis_is_refused_before_anything_is_written(folder, size, axis):
    make_volume(folder / "raw.zarr", voxel_size=size)
    with pytest.raises(RequestError, match=rf"30 × 6 × 6 nm.*along {axis}.*voxel_size under.*model\.accept_voxel_size"):
        run(load(folder / "recipe.toml"), folder / "run", Silent())
    assert not (folder / "run").exists()


def test_who_insists_is_told_and_may_do_so_after_the_run_was_begun(folder, monkeypatch):
    make_volume(folder / "raw.zarr", voxel_size=(60, 12, 12))
    with monkeypatch.context() as before_there_was_a_check:
        before_there_was_a_check.setattr("petavox.pipeline.volumes.voxel_sizes.REFUSED", 10.0)
        run(load(folder / "recipe.toml"), folder / "run", Silent())
    again = Silent()
    run(load(folder / "recipe.toml", ["model.accept_voxel_size=true"]), folder / "run", again)
    assert "Everything is done already." in again.lines
    assert any("factor of 2 along z" in line for line in again.lines)


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"voxel_size": (30, 6, 3)}, r"along x .*mask\.zarr lies from -1\.5 to 46\.5 nm, .*raw\.zarr from -3 to 93 nm"),
        ({"translation": (0, 30, 0)}, r"along y .*mask\.zarr lies from 27 to 123 nm.*offset_nm"),
        ({"shape": (4, 16, 8)}, "along x "),
    ],
)
def test_a_mask_must_cover_the_raw_data(folder, changes, complaint):
    make_volume(folder / "raw.zarr")
    make_volume(folder / "mask.zarr", **changes)
    with pytest.raises(VolumeError, match=complaint):
        plan(folder, "input.mask=mask.zarr")


def test_a_mask_of_the_truth_must_lie_on_its_frame_and_the_truth_on_the_grid_of_what_is_scored(folder):
    make_volume(folder / "raw.zarr")
    make_volume(folder / "truth.zarr", "uint32")
    make_volume(folder / "moved.zarr", "uint32", translation=(0, 6, 0))
    make_volume(folder / "between.zarr", "uint32", translation=(0, 0, 2))
    plan(folder, "evaluate.truth=truth.zarr", "evaluate.mask=truth.zarr")
    with pytest.raises(VolumeError, match=r"position.*moved\.zarr"):
        plan(folder, "evaluate.truth=truth.zarr", "evaluate.mask=moved.zarr")
    with pytest.raises(VolumeError, match=r"one grid of voxels.*between\.zarr.*0\.333"):
        plan(folder, "evaluate.truth=between.zarr")
