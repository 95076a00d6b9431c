"""Scores of arrays in memory: their options, their JSON form, and their equality with scores of blocks."""

import json

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from petavox.pipeline.errors import RequestError
from petavox.pipeline.evaluation.contingency import count, total
from petavox.pipeline.evaluation.scores import Scores, evaluate, score
from petavox.pipeline.geometry import BlockGrid


def row(*labels):
    return np.array(labels, np.uint64).reshape(1, 1, -1)


@given(st.data())
def test_scores_of_blocks_are_exactly_those_of_the_whole(data):
    shape = data.draw(st.tuples(*[st.integers(1, 7)] * 3))
    truth = data.draw(arrays.arrays("uint64", shape, elements=st.integers(0, 4)))
    segments = data.draw(arrays.arrays("uint64", shape, elements=st.sampled_from([0, 1, 5, 2**63])))
    assume(truth.any())
    grid = BlockGrid(shape, data.draw(st.tuples(*[st.integers(1, 7)] * 3)))
    boxes = data.draw(st.permutations([grid.box(index) for index in grid.indices()]))
    blocks = (count(truth[box.slices()], segments[box.slices()], origin=box.start) for box in boxes)
    assert score(total(blocks)) == evaluate(segments, truth)


def test_everything_that_is_counted_is_named():
    scores = evaluate(row(5, 5, 6, 0, 9, 9), row(1, 1, 2, 2, 0, 0))
    assert (scores.voxels, scores.truth_voxels, scores.unlabelled_voxels) == (6, 4, 1)
    assert (scores.truth_objects, scores.segments) == (2, 2)


def test_voxels_outside_the_mask_do_not_count():
    mask = np.array([[[True, True, True, False, False]]])
    assert evaluate(row(5, 5, 6, 6, 6), row(1, 1, 2, 1, 1), mask=mask) == evaluate(row(5, 5, 6), row(1, 1, 2))


def test_a_tolerance_takes_boundaries_out_of_the_score():
    truth, shifted = row(1, 1, 1, 2, 2, 2), row(5, 5, 5, 5, 6, 6)
    assert evaluate(shifted, truth).adapted_rand_error > 0
    assert evaluate(shifted, truth, tolerance=6, voxel_size=(30, 6, 6)).adapted_rand_error == 0


def test_a_tolerance_without_a_voxel_size_is_refused():
    with pytest.raises(RequestError, match="voxel_size"):
        evaluate(row(1), row(1), tolerance=6)


def test_pieces_of_one_object_are_one_unless_told_apart():
    truth, segments = row(1, 1, 0, 1, 1), row(5, 5, 0, 6, 6)
    assert evaluate(segments, truth).recall == 0.5
    assert evaluate(segments, truth, connected_components=True).recall == 1


def test_scores_survive_json():
    scores = evaluate(row(5, 5, 6, 6, 6, 7), row(1, 1, 1, 2, 2, 2))
    assert scores.splits
    assert scores.mergers
    assert Scores.from_json(json.loads(json.dumps(scores.to_json()))) == scores
