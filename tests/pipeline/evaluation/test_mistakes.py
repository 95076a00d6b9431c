"""The largest splits and mergers name the ids, the voxels and the place."""

import numpy as np

from petavox.pipeline.evaluation.contingency import count
from petavox.pipeline.evaluation.mistakes import Merger, Split, largest_mergers, largest_splits
from petavox.pipeline.geometry import Box


def row(*labels):
    return np.array(labels, np.uint64).reshape(1, 1, -1)


def test_a_split_names_the_main_segment_and_the_piece():
    table = count(row(1, 1, 1, 1, 1, 1, 0), row(5, 5, 5, 6, 6, 0, 6))
    assert largest_splits(table) == (Split(1, 5, 6, 2, (0, 0, 3), Box((0, 0, 3), (1, 1, 5))),)
    assert largest_mergers(table) == ()


def test_a_merger_names_the_main_object_and_the_piece():
    table = count(row(1, 1, 1, 2, 2, 0), row(5, 5, 5, 5, 5, 5))
    assert largest_mergers(table) == (Merger(5, 1, 2, 2, (0, 0, 3), Box((0, 0, 3), (1, 1, 5))),)
    assert largest_splits(table) == ()


def test_the_largest_come_first_and_there_are_at_most_as_many_as_asked_for():
    sizes = np.arange(1, 16)
    segments = np.repeat(sizes + 100, sizes).reshape(1, 1, -1)
    splits = largest_splits(count(np.ones_like(segments), segments))
    assert [split.voxels for split in splits] == list(range(14, 4, -1))
    assert all(split.segment == 115 for split in splits)
    assert len(largest_splits(count(np.ones_like(segments), segments), 3)) == 3


def test_equal_sizes_rank_by_id():
    splits = largest_splits(count(row(1, 1, 1, 1), row(9, 8, 7, 6)))
    assert [(split.segment, split.piece) for split in splits] == [(6, 7), (6, 8), (6, 9)]


def test_a_perfect_or_unlabelled_segmentation_has_neither():
    for segments in (row(3, 3, 4), row(0, 0, 0)):
        table = count(row(1, 1, 2), segments)
        assert largest_splits(table) == largest_mergers(table) == ()
