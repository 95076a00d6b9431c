"""Truth objects that enter a box twice are told apart."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy import ndimage

from petavox.pipeline.evaluation.components import separate_components


def test_the_largest_component_keeps_the_id_and_the_others_get_the_smallest_free_ones():
    truth = np.array([[[7, 7, 0, 7, 1, 7, 3, 1, 1]]], np.uint8)
    assert separate_components(truth).tolist() == [[[7, 7, 0, 2, 4, 5, 3, 1, 1]]]


def test_corners_connect():
    truth = np.zeros((2, 2, 2), np.uint16)
    truth[0, 0, 0] = truth[1, 1, 1] = 4
    np.testing.assert_array_equal(separate_components(truth), truth)


@given(arrays.arrays("uint64", (2, 3, 6), elements=st.sampled_from([0, 1, 3, 2**64 - 1])))
def test_every_component_has_one_id_of_its_own(truth):
    separated = separate_components(truth)
    np.testing.assert_array_equal(separated == 0, truth == 0)
    expected = sum(ndimage.label(truth == label, np.ones((3, 3, 3)))[1] for label in np.unique(truth[truth != 0]))
    ids = np.unique(separated[separated != 0])
    assert len(ids) == expected
    for label in ids:
        assert len(np.unique(truth[separated == label])) == 1
        assert ndimage.label(separated == label, np.ones((3, 3, 3)))[1] == 1
    assert set(np.unique(truth).tolist()) <= set(np.unique(separated).tolist())
