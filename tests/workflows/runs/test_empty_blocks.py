"""Blocks in which there is nothing, beside blocks in which there is something: the segments are those of the whole."""

import numpy as np
import pytest
from fakes.shuffled import Silent

from petavox import segment
from petavox.pipeline.geometry import Box
from petavox.pipeline.volumes import VolumeSpec, create_volume, open_volume
from petavox.workflows.recipes.segmentation_recipe import load
from petavox.workflows.runs.run import run

SHAPE = (8, 24, 24)
NEAREST = ((1, 0, 0), (0, 1, 0), (0, 0, 1))


@pytest.mark.parametrize("corner", [(0, 0, 0), (0, 16, 16), (4, 8, 0), (0, 9, 9)])
def test_data_in_one_corner_of_a_volume_is_segmented_as_in_memory(tmp_path, corner):
    affinities = np.zeros((3, *SHAPE), np.uint8)
    box = Box.of_shape((4, 7, 7), corner)
    affinities[(slice(None), *box.slices())] = np.random.default_rng(0).integers(0, 256, (3, *box.shape))
    spec = VolumeSpec(SHAPE, "uint8", (30, 6, 6), channels=3, offsets=NEAREST, chunk=(4, 8, 8))
    create_volume(tmp_path / "affinities.zarr", spec).write(Box.of_shape(SHAPE), affinities)
    (tmp_path / "recipe.toml").write_text(
        'input.affinities = "affinities.zarr"\nblocks.shape = [4, 8, 8]\ncluster.kind = "serial"'
    )
    ending = run(load(tmp_path / "recipe.toml"), tmp_path / "run", Silent(), backoff=0.001)
    assert ending.failed == 0
    found = open_volume(ending.segmentation).read(Box.of_shape(SHAPE))
    assert np.array_equal(found, segment(affinities))
