"""A mask over affinities, of any resolution, gives what affinities give that are 0 outside it."""

from __future__ import annotations

import numpy as np
import pytest
from fakes.shuffled import Silent

from petavox import segment
from petavox.pipeline.errors import RequestError, VolumeError
from petavox.pipeline.geometry import Box
from petavox.pipeline.volumes import Volume, VolumeSpec, create_volume, open_volume
from petavox.workflows.analysis.tune import tune
from petavox.workflows.planning.calibration_run import calibrate
from petavox.workflows.planning.plan import make_plan
from petavox.workflows.planning.unit_costs import shipped
from petavox.workflows.recipes.segmentation_recipe import load
from petavox.workflows.recipes.tuning_grid import read_grid
from petavox.workflows.runs.cut import plan_cut
from petavox.workflows.runs.run import run
from petavox.workflows.runs.verify import verify

SHAPE = (10, 40, 36)
OFFSETS = ((1, 0, 0), (0, 1, 0), (0, 0, 1), (0, 3, 0), (0, 0, -4))
FACTORS = (2, 4, 6)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Affinities with two long-range channels, a coarse mask of them, and the same affinities with 0 outside it."""
    folder = tmp_path_factory.mktemp("made")
    random = np.random.default_rng(7)
    affinities = random.integers(0, 256, (5, *SHAPE)).astype(np.uint8)
    coarse = random.integers(0, 3, (5, 10, 6)).astype(np.uint8)  # two of three cells
    coarse[:, :4] = 0
    fine = coarse.repeat(2, 0).repeat(4, 1).repeat(6, 2) != 0
    put(folder / "affinities.zarr", affinities)
    put(folder / "zeroed.zarr", affinities * both_ends(fine))
    put(folder / "truth.zarr", expected(affinities * both_ends(fine), "0.6"))
    size = [length * factor for length, factor in zip((30, 6, 6), FACTORS, strict=True)]
    centre = [(factor - 1) / 2 * length for length, factor in zip((30, 6, 6), FACTORS, strict=True)]
    spec = VolumeSpec(coarse.shape, "uint8", tuple(size), tuple(centre))
    create_volume(folder / "mask.zarr", spec).write(spec.box, coarse)
    (folder / "recipe.toml").write_text(
        """
        input.affinities = "affinities.zarr"
        input.mask = "mask.zarr"
        blocks.shape = [5, 16, 36]
        agglomeration.threshold = 0.6
        evaluate.truth = "truth.zarr"
        cluster.kind = "serial"
        """
    )
    return folder


def put(path, array):
    channels, offsets = (len(array), OFFSETS) if array.ndim == 4 else (None, None)
    spec = VolumeSpec(SHAPE, array.dtype.name, (30, 6, 6), (0, 0, 0), channels, offsets, chunk=SHAPE)
    create_volume(path, spec).write(spec.box, array)


def both_ends(inside):
    """Of every channel, the voxels of which both ends of the edge are inside."""
    wanted = np.zeros((len(OFFSETS), *SHAPE), np.uint8)
    for channel, offset in enumerate(OFFSETS):
        for voxel in np.argwhere(inside):
            other = voxel - offset
            if (other < 0).any() or (other >= SHAPE).any() or inside[tuple(other)]:
                wanted[channel][tuple(voxel)] = 1
    return wanted


def expected(affinities, threshold):
    return segment(np.ascontiguousarray(affinities[:3]), threshold=threshold)


def segmented(ending):
    return open_volume(ending.segmentation).read(Box.of_shape(SHAPE))


def run_recipe(folder, directory, *overrides):
    return run(load(folder / "recipe.toml", overrides), directory, Silent())


@pytest.fixture(scope="module")
def finished(folder):
    return run_recipe(folder, folder / "run").directory


@pytest.mark.parametrize("block", [[5, 16, 36], [10, 40, 36], [4, 8, 12]])
def test_for_any_blocks_it_is_as_if_affinities_were_0_outside(folder, tmp_path, block):
    ending = run_recipe(folder, tmp_path / "run", f"blocks.shape={block}")
    zeroed = open_volume(folder / "zeroed.zarr").read(Box.of_shape(SHAPE))
    assert np.array_equal(segmented(ending), expected(zeroed, "0.6"))
    assert ending.scores.adapted_rand_error == 0
    assert segmented(ending).any()


def test_mutex_supervoxels_stay_inside_too(folder, tmp_path):
    settings = ["supervoxels.method=mutex", "supervoxels.strides=[1, 2, 2]"]
    masked = run_recipe(folder, tmp_path / "masked", *settings)
    path = tmp_path / "zeroed.toml"
    path.write_text((folder / "recipe.toml").read_text().replace("input.mask", "# input.mask"))
    zeroed = [f"input.affinities={folder / 'zeroed.zarr'}", f"evaluate.truth={folder / 'truth.zarr'}"]
    assert np.array_equal(
        segmented(masked), segmented(run(load(path, [*settings, *zeroed]), tmp_path / "run", Silent()))
    )


def test_blocks_outside_read_no_affinities(folder, tmp_path, monkeypatch):
    read, boxes = Volume.read, []

    def noted(volume, box, channels=None):
        if volume.path.endswith("affinities.zarr"):
            boxes.append(box)
        return read(volume, box, channels)

    monkeypatch.setattr("petavox.workflows.planning.sources.sample_density", lambda *_: None)
    monkeypatch.setattr("petavox.workflows.planning.plan.survey", lambda *_: ())
    monkeypatch.setattr("petavox.workflows.runs.run.report", lambda *_: None)
    monkeypatch.setattr(Volume, "read", noted)
    run_recipe(folder, tmp_path / "run", "blocks.shape=[5, 8, 36]")
    assert min(box.start[1] for box in boxes) == 7, "the block before has no voxel inside, nor beside one"
    assert max(box.stop[1] for box in boxes) == 40


def test_other_blocks_and_another_box_are_compared_under_the_mask(finished):
    assert verify(finished, progress=Silent).identical
    assert verify(finished, box=Box((1, 10, 3), (9, 33, 30)), progress=Silent).identical


def test_a_cut_needs_no_mask(folder, finished):
    zeroed = open_volume(folder / "zeroed.zarr").read(Box.of_shape(SHAPE))
    assert np.array_equal(segmented(run(*plan_cut(finished, "0.8"), Silent())), expected(zeroed, "0.8"))


def test_thresholds_are_tuned_under_the_mask_and_the_recipe_keeps_it(finished):
    grid = read_grid(None, ["low=[0.02]", "high=[0.9999]", "threshold=[0.6]", "linkage=['mean']", "join=[[100, 0.3]]"])
    tuning = tune(finished, grid=grid, progress=Silent(), split="none")
    assert tuning.chosen.adapted_rand_error == 0
    assert tuning.recipe.input.mask is not None


def test_a_calibration_looks_at_a_block_inside(folder, tmp_path):
    spec = VolumeSpec((5, 10, 6), "uint8", (60, 24, 36), (15, 9, 15))
    inside = np.zeros(spec.shape, np.uint8)
    inside[:, 8:] = 1
    create_volume(tmp_path / "mask.zarr", spec).write(spec.box, inside)
    settings = ["blocks.shape=[10, 8, 36]", "cluster.memory=4GB", f"input.mask={tmp_path / 'mask.zarr'}"]
    plan = make_plan(load(folder / "recipe.toml", settings), tmp_path / "run")
    assert calibrate(plan, shipped(), lambda _: None).block == (0, 4, 0)


def test_a_run_is_not_continued_under_another_mask(folder, finished, tmp_path):
    path = tmp_path / "moved.toml"
    path.write_text((folder / "recipe.toml").read_text().replace('"mask.zarr"', f'"{folder / "truth.zarr"}"'))
    overrides = [f"input.affinities={folder / 'affinities.zarr'}", f"evaluate.truth={folder / 'truth.zarr'}"]
    with pytest.raises(RequestError, match=r"begun otherwise: input\.mask is "):
        run(load(path, overrides), finished, Silent())


def test_a_mask_that_ends_before_the_affinities_is_refused_unless_the_box_ends_there_too(folder, tmp_path):
    spec = VolumeSpec((5, 5, 6), "uint8", (60, 24, 36), (15, 9, 15))
    create_volume(tmp_path / "half.zarr", spec).write(spec.box, np.ones(spec.shape, np.uint8))
    half = f"input.mask={tmp_path / 'half.zarr'}"
    with pytest.raises(VolumeError, match=r"along y .*half\.zarr lies from -3 to 117 nm"):
        run_recipe(folder, tmp_path / "run", half)
    run_recipe(folder, tmp_path / "run", half, "input.box=[[0, 0, 0], [10, 20, 36]]")
