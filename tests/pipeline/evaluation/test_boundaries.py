"""The tolerance at truth boundaries equals its twin, blockwise too."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from petavox.pipeline.errors import RequestError
from petavox.pipeline.evaluation.boundaries import halo, ignore_boundaries
from petavox.pipeline.geometry import BlockGrid, Box
from twins.contingency import near_a_boundary

TRUTH = arrays.arrays(
    "uint16", st.tuples(st.integers(1, 2), st.integers(1, 9), st.integers(1, 9)), elements=st.integers(0, 2)
)
TOLERANCES = st.sampled_from([0.0, 3.9, 4.0, 8.1, 12.0, 20.0])
SIZES = st.sampled_from([(30.0, 4.0, 4.0), (40.0, 4.0, 6.0), (30.0, 4.1, 2.05)])


@given(TRUTH, TOLERANCES, SIZES)
def test_voxels_near_a_boundary_of_their_section_become_background(truth, tolerance, voxel_size):
    kept = ignore_boundaries(truth, tolerance, voxel_size)
    np.testing.assert_array_equal(kept, np.where(near_a_boundary(truth, tolerance, voxel_size), 0, truth))


@given(TRUTH, TOLERANCES, SIZES, st.tuples(*[st.integers(1, 4)] * 3))
def test_blocks_that_see_their_halo_agree_with_the_whole(truth, tolerance, voxel_size, block):
    whole = ignore_boundaries(truth, tolerance, voxel_size)
    grid = BlockGrid(truth.shape, block)
    for box in map(grid.box, grid.indices()):
        seen = box.grow(halo(tolerance, voxel_size)).intersect(Box.of_shape(truth.shape))
        part = ignore_boundaries(truth[seen.slices()], tolerance, voxel_size)
        np.testing.assert_array_equal(part[box.slices(seen.start)], whole[box.slices()])


def test_the_truth_given_is_not_changed():
    truth = np.array([[[1, 1, 2, 2]]], np.uint8)
    assert ignore_boundaries(truth, 0, (1, 1, 1)).tolist() == [[[1, 0, 0, 2]]]
    assert truth.tolist() == [[[1, 1, 2, 2]]]


@pytest.mark.parametrize(("tolerance", "size"), [(-1, (30, 6, 6)), (10, (30, 0, 6))])
def test_a_negative_tolerance_and_an_empty_voxel_are_refused(tolerance, size):
    with pytest.raises(RequestError, match="at least 0 nm"):
        ignore_boundaries(np.zeros((1, 1, 1), np.uint8), tolerance, size)
