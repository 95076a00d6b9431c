"""Fragments of blocks, joined through their links, are the supervoxels of the whole volume."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from petavox.pipeline.errors import AffinityError, RequestError
from petavox.pipeline.geometry import BlockGrid, Box
from petavox.pipeline.segmentation.supervoxels import halo_box, label_fragments
from petavox.pipeline.thresholds import Threshold
from twins import regions, volumes_and_blocks
from twins.voxels import DisjointSets, supervoxels


def stitched(affinities, block_shape, low, high, region=None):
    """Canonical ids of the whole volume from its blocks, with links joined by the slow twin's sets."""
    volume = affinities.shape[1:]
    grid = BlockGrid(volume, block_shape, region)
    ids = np.zeros(volume, dtype=np.uint64)
    picked = [np.zeros(volume, dtype=bool) for _ in range(3)]
    for index in grid.indices():
        box = grid.box(index)
        outer = halo_box(box, volume, region)
        found = label_fragments(np.ascontiguousarray(affinities[:, *outer.slices()]), box, volume, low, high, region)
        assert list(found.ids) == sorted(found.ids)
        assert found.sizes.tolist() == np.bincount(found.labels.ravel(), minlength=len(found.ids) + 1)[1:].tolist()
        ids[box.slices()] = np.concatenate([[0], found.ids]).astype(np.uint64)[found.labels]
        for axis in range(3):
            face = list(box.slices())
            face[axis] = box.start[axis]
            picked[axis][tuple(face)] |= found.crossing[axis]
    sets = DisjointSets()
    for axis in range(3):
        for p in np.argwhere(picked[axis]):
            q = p - np.eye(3, dtype=int)[axis]
            sets.unite(int(ids[tuple(p)]), int(ids[tuple(q)]))
    return np.vectorize(lambda i: sets.find(int(i)), otypes=[np.uint64])(ids)


@settings(deadline=None, max_examples=120)
@given(volumes_and_blocks())
def test_supervoxels_do_not_depend_on_blocks(case):
    affinities, block, low, high = case.affinities, case.block, case.low, case.high
    expected = supervoxels(affinities, low.least_affinity, high.least_affinity)
    assert np.array_equal(stitched(affinities, block, low, high), expected)


@settings(deadline=None, max_examples=80)
@given(volumes_and_blocks(), st.data())
def test_supervoxels_of_a_region_are_those_of_the_region_cut_out_by_their_voxels_in_the_volume(case, data):
    volume = case.affinities.shape[1:]
    region = data.draw(regions(volume))
    cut_out = supervoxels(case.affinities[:, *region.slices()], case.low.least_affinity, case.high.least_affinity)
    linear = np.arange(np.prod(volume), dtype=np.uint64).reshape(volume)[region.slices()].ravel()
    expected = np.zeros(volume, np.uint64)
    expected[region.slices()] = np.concatenate([[0], linear + 1]).astype(np.uint64)[cut_out]
    assert np.array_equal(stitched(case.affinities, case.block, case.low, case.high, region), expected)


@pytest.mark.parametrize("value", [0, 255])
def test_a_constant_volume_is_all_background_or_one_supervoxel(value):
    affinities = np.full((3, 3, 4, 5), value, dtype=np.uint8)
    box = Box.of_shape((3, 4, 5))
    found = label_fragments(affinities, box, (3, 4, 5), Threshold.parse("0.1"), Threshold.parse("0.9"))
    assert np.all(found.labels == (value == 255))


def test_affinities_of_another_shape_are_refused():
    with pytest.raises(AffinityError, match="found uint8"):
        label_fragments(
            np.zeros((3, 2, 2, 2), np.uint8), Box.of_shape((2, 2, 3)), (2, 2, 3), Threshold(0), Threshold(10**6)
        )


def test_low_above_high_is_refused():
    with pytest.raises(RequestError, match="low must not exceed high"):
        label_fragments(
            np.zeros((3, 1, 1, 1), np.uint8), Box.of_shape((1, 1, 1)), (1, 1, 1), Threshold(5), Threshold(4)
        )
