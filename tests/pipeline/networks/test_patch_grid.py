import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from petavox.pipeline.errors import RequestError
from petavox.pipeline.geometry import Box
from petavox.pipeline.networks.patch_grid import NEGLIGIBLE, PatchGrid, blending_weights, mirrored

lengths = st.integers(1, 12).map(lambda n: 2 * n)
starts = st.tuples(*(st.integers(0, 12),) * 3)
shapes = st.tuples(*(st.integers(1, 8),) * 3)


def counts(grid, index, block):
    """Whether a patch has any weight in a block."""
    box = grid.box(index)
    parts = box.intersect(block).slices(box.start) if not box.intersect(block).is_empty else [slice(0)] * 3
    return all(blending_weights(length)[part].any() for length, part in zip(grid.patch, parts, strict=True))


@settings(max_examples=30)
@given(patch=st.tuples(lengths, lengths, lengths), start=starts, shape=shapes)
def test_a_block_s_patches_are_exactly_those_that_count_in_it_in_global_order(patch, start, shape):
    grid, block = PatchGrid(patch), Box.of_shape(shape, start)
    found = list(grid.touching(block))
    candidates = list(np.ndindex(*(2 * (s + n) // p + 3 for s, n, p in zip(start, shape, patch, strict=True))))
    assert found == [index for index in candidates if counts(grid, index, block)]
    assert all(grid.span(block).contains(grid.box(index)) for index in found)


@given(patch=st.tuples(lengths, lengths, lengths), voxel=starts)
def test_the_weights_of_all_patches_of_a_voxel_add_up_to_one(patch, voxel):
    grid = PatchGrid(patch)
    weights = [blending_weights(length) for length in patch]
    boxes = [grid.box(index) for index in grid.touching(Box.of_shape((1, 1, 1), voxel))]
    places = [[v - a for v, a in zip(voxel, box.start, strict=True)] for box in boxes]
    assert 1 <= len(places) <= 8
    assert sum(weights[0][z] * weights[1][y] * weights[2][x] for z, y, x in places) == pytest.approx(1, abs=1e-6)


def test_weights_are_the_published_bump_up_to_their_sum():
    n = 12
    u = np.arange(1, n + 1) / (n + 1)
    bump = np.exp(-((u * (1 - u)) ** -1.5))
    exact = bump / (bump + np.roll(bump, n // 2))
    np.testing.assert_allclose(blending_weights(n), exact, atol=NEGLIGIBLE)
    assert (blending_weights(n) == 0).sum() == (exact < NEGLIGIBLE).sum() > 0


@given(length=st.integers(1, 9), start=st.integers(-40, 40), count=st.integers(1, 40))
def test_mirrored_positions_are_those_of_numpy_s_reflecting_pad(length, start, count):
    padded = np.pad(np.arange(length), 100, mode="reflect") if length > 1 else np.zeros(201, int)
    np.testing.assert_array_equal(mirrored(start, start + count, length), padded[100 + start : 100 + start + count])


@pytest.mark.parametrize("patch", [(3, 4, 4), (0, 4, 4)])
def test_patches_that_cannot_overlap_by_half_are_refused(patch):
    with pytest.raises(RequestError, match="even"):
        PatchGrid(patch)
