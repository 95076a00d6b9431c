import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from petavox.pipeline.errors import RequestError
from petavox.pipeline.geometry import Box
from petavox.pipeline.networks.patch_grid import (
    NEGLIGIBLE,
    FreeOverlap,
    HalfOverlap,
    Patches,
    blending_weights,
    mirrored,
)

halves = st.integers(1, 12).map(lambda half: HalfOverlap(2 * half))


@st.composite
def free(draw):
    """Patches of any overlap that they can have, along a volume of any length."""
    patch = draw(st.integers(1, 24))
    overlap = draw(st.integers(0, patch // 2))
    return FreeOverlap(patch, overlap, draw(st.integers(0, overlap // 2)), draw(st.integers(1, 90)))


def weights_at(axis, place, candidates):
    """What each of some patches counts in a voxel of an axis."""
    places = [place - axis.start(k) for k in candidates]
    return [axis.weights(k)[p] if 0 <= p < axis.patch else 0 for k, p in zip(candidates, places, strict=True)]


@given(axis=st.one_of(halves, free()), start=st.integers(0, 89), length=st.integers(1, 40))
def test_the_patches_that_count_in_a_range_are_exactly_those_with_a_weight_there(axis, start, length):
    last = getattr(axis, "volume", 130)
    start, stop = min(start, last - 1), min(start + length, last)
    candidates = range(getattr(axis, "count", 140))
    there = [weights_at(axis, place, candidates) for place in range(start, max(stop, start + 1))]
    expected = [k for k, weights in zip(candidates, zip(*there, strict=True), strict=True) if any(weights)]
    assert list(axis.counting(start, max(stop, start + 1))) == expected


@given(axis=free())
def test_the_weights_of_all_patches_of_a_voxel_add_up_to_one_exactly(axis):
    for place in range(axis.volume):
        found = weights_at(axis, place, range(axis.count))
        assert sum(found) == 1
        assert 1 <= np.count_nonzero(found) <= 2
        assert all(0 <= weight <= 1 for weight in found)


@given(axis=halves, place=st.integers(0, 60))
def test_the_weights_of_patches_that_overlap_by_half_add_up_to_one(axis, place):
    assert sum(weights_at(axis, place, range(70))) == pytest.approx(1, abs=1e-6)


@given(axis=free())
def test_no_patch_reaches_out_of_the_volume_by_more_than_its_rim_unless_it_is_longer(axis):
    first, last = axis.start(0), axis.start(axis.count - 1) + axis.patch
    if axis.count == 1:
        assert axis.patch >= axis.volume + 2 * axis.rim
        assert -first == pytest.approx(last - axis.volume, abs=1)
    else:
        assert (first, last) == (-axis.rim, axis.volume + axis.rim)
        assert all(0 < axis.start(k) - axis.start(k - 1) <= axis.step for k in range(1, axis.count))


def test_a_patch_counts_nothing_at_its_rim_then_more_and_more_then_all():
    axis = FreeOverlap(patch=12, overlap=6, rim=1, volume=100)
    expected = np.array([0, 1, 2, 3, 4, 5, 5, 4, 3, 2, 1, 0]) / 5
    np.testing.assert_allclose(axis.weights(3), expected, atol=1 / 512)


@given(patches=st.tuples(free(), free(), free()), shape=st.tuples(*(st.integers(1, 30),) * 3))
def test_a_block_s_patches_come_in_global_order_inside_its_span(patches, shape):
    z, y, x = patches
    grid = Patches((z.patch, y.patch, x.patch), (z.overlap, y.overlap, x.overlap), (z.rim, y.rim, x.rim)).over(
        (z.volume, y.volume, x.volume)
    )
    block = Box.of_shape([min(s, axis.volume) for s, axis in zip(shape, patches, strict=True)])
    found = list(grid.touching(block))
    assert found == sorted(found)
    assert all(grid.span(block).contains(grid.box(index)) for index in found)
    assert all(grid.box(index).contains(grid.reach(index)) for index in found)
    assert all(not grid.reach(index).intersect(block).is_empty for index in found)
    assert grid.computed(block) == len(found) * z.patch * y.patch * x.patch


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
        Patches(patch)


@pytest.mark.parametrize(("overlap", "rim"), [((5, 4, 4), None), ((4, 4, 4), (0, 0, 3)), ((-1, 0, 0), (0, 0, 0))])
def test_an_overlap_that_does_not_fit_patch_or_rim_is_refused(overlap, rim):
    with pytest.raises(RequestError, match="at least twice its rim, and at most half of the patch"):
        Patches((9, 8, 8), overlap, rim)


def test_a_rim_without_an_overlap_is_refused():
    with pytest.raises(RequestError, match="belongs to an overlap"):
        Patches((4, 4, 4), rim=(1, 1, 1))
