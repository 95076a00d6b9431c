"""Cells of two sorts are told apart however many there are of each; specks go, holes are filled, doubts keep all."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from petavox.pipeline.errors import VolumeError
from petavox.pipeline.tissue import outline
from petavox.pipeline.tissue.outline import tell_apart
from petavox.pipeline.tissue.structure import NO_IMAGE


def cells(shape, typical, spread, seed=0):
    """Structure that varies by a factor, as that of tissue does."""
    return (typical * 2.0 ** np.random.default_rng(seed).normal(0, spread, shape)).astype(np.float32)


@settings(deadline=None, max_examples=40)
@given(st.floats(0.04, 0.96), st.floats(0.1, 3.0), st.floats(25, 60), st.integers(0, 99))
def test_two_sorts_are_told_apart_half_way_whatever_their_shares(share, few, much, seed):
    count = round(3000 * share)
    structure = np.concatenate([cells(3000 - count, few, 0.3, seed), cells(count, much, 0.3, seed + 1)])
    found = tell_apart(structure)
    assert found is not None
    assert few * 1.5 < found < much / 1.5
    assert found == tell_apart(np.random.default_rng(seed).permutation(structure))


@pytest.mark.parametrize("spread", [0.0, 0.1, 0.4])
@pytest.mark.parametrize("typical", [1.0, 40.0])
def test_one_sort_is_not_cut_in_two(typical, spread):
    structure = cells(3000, typical, spread)
    assert tell_apart(structure) is None
    found = outline(structure.reshape(10, 20, 15))
    assert found.inside.all()
    assert (found.threshold, found.share) == (None, 1.0)


def test_cells_without_any_structure_are_one_sort():
    assert tell_apart(np.zeros(100, np.float32)) is None


def scene():
    """Tissue of 20 × 20 columns with a hole in it, a speck beside it, resin around it, and a border without image."""
    structure = cells((6, 40, 40), 1.0, 0.3)
    structure[:, 5:25, 5:25] = cells((6, 20, 20), 40.0, 0.3, 1)
    structure[2:4, 12:15, 12:15] = 1.0
    structure[3, 33, 33] = 50.0
    structure[:, :, 36:] = NO_IMAGE
    return structure


def test_specks_are_dropped_holes_are_filled_and_the_border_is_outside():
    found = outline(scene())
    expected = np.zeros((6, 40, 40), bool)
    expected[:, 5:25, 5:25] = True
    assert np.array_equal(found.inside, expected)
    assert found.share == 400 / 1600
    assert 2 < found.threshold < 20


def test_a_smaller_piece_is_kept_where_it_is_large_enough():
    assert outline(scene(), smallest=0.0).inside[3, 33, 33]


def test_a_threshold_that_is_given_counts():
    assert outline(scene(), threshold=0.0).inside[:, :, :36].all()
    assert not outline(scene(), threshold=1000.0).inside.any()


def test_a_volume_without_image_has_no_outline():
    with pytest.raises(VolumeError, match="the volume holds none: only fill values, black or white"):
        outline(np.full((2, 2, 2), NO_IMAGE, np.float32))
