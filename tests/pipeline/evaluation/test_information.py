"""The variation of information and the CREMI score."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from skimage.metrics import variation_of_information as scikit_image

from petavox.pipeline.evaluation.contingency import count
from petavox.pipeline.evaluation.information import VariationOfInformation, cremi_score, variation_of_information


def row(*labels):
    return np.array(labels, np.uint64).reshape(1, 1, -1)


@pytest.mark.parametrize(
    ("truth", "segments", "split", "merge"),
    [
        (row(1, 1, 2, 2), row(5, 5, 6, 6), 0, 0),
        (row(1, 1, 1, 1), row(5, 5, 6, 6), 1, 0),
        (row(1, 2, 3, 4), row(5, 5, 5, 5), 0, 2),
        (row(1, 1, 0, 0), row(5, 5, 6, 7), 0, 0),
        # Unlabelled voxels are one segment: half of it lies in each object.
        (row(1, 1, 2, 2), row(5, 0, 6, 0), 1, 0.5),
    ],
)
def test_splits_and_mergers_made_by_hand(truth, segments, split, merge):
    assert variation_of_information(count(truth, segments)) == VariationOfInformation(split, merge)


@given(*(arrays.arrays("uint64", (2, 3, 5), elements=st.integers(1, 4)) for _ in range(2)))
def test_scikit_image_agrees_inside_truth(truth, segments):
    information = variation_of_information(count(truth, segments))
    # scikit-image returns (H(second | first), H(first | second)).
    assert (information.split, information.merge) == pytest.approx(scikit_image(truth, segments), abs=1e-12)


@given(*(arrays.arrays("uint64", (2, 3, 5), elements=st.integers(1, 4)) for _ in range(2)))
def test_exchanging_truth_and_segmentation_exchanges_split_and_merge(truth, segments):
    there, back = variation_of_information(count(truth, segments)), variation_of_information(count(segments, truth))
    assert (there.split, there.merge) == (back.merge, back.split)


def test_the_cremi_score_is_the_geometric_mean():
    assert cremi_score(VariationOfInformation(0.75, 0.25), 0.25) == 0.5
    assert math.isclose(cremi_score(VariationOfInformation(1.0, 1.0), 0.02), 0.2)
