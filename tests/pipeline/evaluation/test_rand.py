"""The adapted Rand error on splits and mergers worked out on paper, against its definition and scikit-image."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from skimage.metrics import adapted_rand_error

from petavox.pipeline.errors import VolumeError
from petavox.pipeline.evaluation.contingency import Contingency, count
from petavox.pipeline.evaluation.rand import adapted_rand, sum_of_squares
from twins.contingency import snemi3d


def row(*labels):
    return np.array(labels, np.uint64).reshape(1, 1, -1)


def scored(truth, segments):
    rand = adapted_rand(count(truth, segments))
    return rand.error, rand.precision, rand.recall


@pytest.mark.parametrize(
    ("truth", "segments", "precision", "recall"),
    [
        (row(1, 1, 1, 1), row(5, 5, 5, 5), 1, 1),
        # A split in halves: of 16 true pairs 8 are left.
        (row(1, 1, 1, 1), row(5, 5, 6, 6), 1, Fraction(1, 2)),
        # A merger of two halves: of 16 made pairs 8 are true.
        (row(1, 1, 2, 2), row(5, 5, 5, 5), Fraction(1, 2), 1),
        # Truth background is not scored, whatever the segmentation makes of it.
        (row(1, 1, 2, 2, 0, 0), row(5, 5, 6, 6, 5, 7), 1, 1),
        # Two of four voxels unlabelled, n = 8: 2² + 2/8 pairs, of 4² true ones.
        (row(1, 1, 1, 1, 0, 0, 0, 0), row(5, 5, 0, 0, 0, 0, 0, 0), 1, Fraction(17, 64)),
        # A split and a merger at once: both 4+1+9, truth 9+9, segments 4+16.
        (row(1, 1, 1, 2, 2, 2), row(5, 5, 6, 6, 6, 6), Fraction(14, 20), Fraction(14, 18)),
        # Nothing labelled: only the singletons' pairs with themselves, 4/4.
        (row(1, 1, 1, 1), row(0, 0, 0, 0), 1, Fraction(1, 16)),
    ],
)
def test_splits_and_mergers_made_by_hand(truth, segments, precision, recall):
    error = 1 - 2 * Fraction(precision) * Fraction(recall) / (Fraction(precision) + Fraction(recall))
    assert scored(truth, segments) == (float(error), float(precision), float(recall))


@given(st.data())
def test_the_error_is_that_of_the_definition(data):
    shape = (2, 3, 4)
    truth = data.draw(arrays.arrays("uint64", shape, elements=st.integers(0, 3)))
    segments = data.draw(arrays.arrays("uint64", shape, elements=st.integers(0, 3)))
    assume(truth.any())
    assert scored(truth, segments) == snemi3d(truth, segments)


def blobs(seed, labels, shape=(12, 40, 40)):
    """Voronoi cells."""
    generator = np.random.default_rng(seed)
    seeds = generator.uniform(0, shape, (labels, 3))
    grid = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), -1)
    return (np.linalg.norm(grid[..., None, :] - seeds, axis=-1).argmin(-1) + 1).astype(np.uint64)


def test_scikit_image_agrees_when_unlabelled_voxels_get_ids_of_their_own():
    truth, segments = blobs(0, 12), blobs(1, 15)
    truth[:2] = 0
    segments[np.random.default_rng(2).random(truth.shape) < 0.1] = 0
    unlabelled = segments == 0
    filled = segments.copy()
    filled[unlabelled] = np.arange(100, 100 + unlabelled.sum())
    # scikit-image returns precision and recall in the other order than its documentation says,
    # and leaves out the pairs of a voxel with itself.
    error, recall, precision = adapted_rand_error(truth, filled)
    assert scored(truth, segments) == pytest.approx((error, precision, recall), abs=2e-3)


def test_a_tenth_of_unlabelled_voxels_costs_a_tenth():
    truth = blobs(0, 4)
    segments = truth.copy()
    segments[np.random.default_rng(0).random(truth.shape) < 0.1] = 0
    assert scored(truth, segments)[0] == pytest.approx(0.105, abs=0.003)


@given(arrays.arrays("uint64", (2, 3, 4), elements=st.integers(1, 4)), st.permutations(range(1, 5)))
def test_a_perfect_segmentation_has_no_error_whatever_its_ids(truth, ids):
    assert scored(truth, np.array([0, *ids], np.uint64)[truth]) == (0, 1, 1)


@given(st.data())
def test_merging_two_segments_never_lowers_the_recall(data):
    truth = data.draw(arrays.arrays("uint64", (2, 3, 4), elements=st.integers(0, 3)))
    segments = data.draw(arrays.arrays("uint64", (2, 3, 4), elements=st.integers(1, 4)))
    assume(truth.any())
    assert scored(truth, np.where(segments == 2, 1, segments))[2] >= scored(truth, segments)[2]


def test_sizes_beyond_64_bits_stay_exact():
    half = 2**55 + 1
    place = np.zeros((2, 3), np.int64)
    ids = np.array([1, 1], np.uint64), np.array([1, 2], np.uint64)
    table = Contingency(*ids, np.array([half, half]), place, place, place, 2 * half)
    assert adapted_rand(table).recall == 0.5
    assert sum_of_squares(table.voxels) == 2 * half**2


def test_nothing_to_score_is_refused():
    with pytest.raises(VolumeError, match="none of the 3 voxels"):
        adapted_rand(count(row(0, 0, 0), row(1, 2, 3)))
