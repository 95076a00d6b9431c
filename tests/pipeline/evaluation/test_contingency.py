"""Contingency tables equal their twin, add up over blocks, and survive storage."""

from dataclasses import fields, replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from petavox.pipeline import tables
from petavox.pipeline.errors import VolumeError
from petavox.pipeline.evaluation.contingency import Contingency, count, total
from petavox.pipeline.geometry import BlockGrid, triple
from twins.contingency import pairs

SHAPES = st.tuples(st.integers(1, 5), st.integers(1, 6), st.integers(1, 9))
TYPES = st.sampled_from([("uint64", "uint64"), ("uint8", "uint64"), ("int32", "uint16")])


@st.composite
def truth_segments_mask(draw):
    shape = draw(SHAPES)
    mask = draw(st.none() | arrays.arrays(bool, shape))
    truth, segments = (draw(arrays.arrays(kind, shape, elements=st.integers(0, 3))) for kind in draw(TYPES))
    return truth, segments, mask


def assert_equal(table, other):
    for field in fields(Contingency):
        np.testing.assert_array_equal(getattr(table, field.name), getattr(other, field.name), err_msg=field.name)


@given(truth_segments_mask())
def test_a_table_holds_the_voxels_and_places_of_every_pair(volumes):
    truth, segments, mask = volumes
    table, expected = count(truth, segments, mask=mask), pairs(truth, segments, mask)
    assert table.scored == (truth.size if mask is None else mask.sum())
    assert list(zip(table.truth.tolist(), table.segment.tolist(), strict=True)) == list(expected)
    for row, voxels in enumerate(expected.values()):
        assert table.voxels[row] == len(voxels)
        assert tuple(table.place[row]) in voxels
        assert tuple(table.start[row]) == tuple(np.min(voxels, axis=0))
        assert tuple(table.stop[row]) == tuple(np.max(voxels, axis=0) + 1)


@given(truth_segments_mask(), SHAPES, st.randoms(use_true_random=False))
def test_tables_of_blocks_add_up_to_the_table_of_the_whole_in_any_order(volumes, block, random):
    truth, segments, mask = volumes
    grid = BlockGrid(triple(truth.shape), block)
    parts = []
    for index in grid.indices():
        box = grid.box(index)
        inside = box.slices()
        part_mask = None if mask is None else mask[inside]
        parts.append(count(truth[inside], segments[inside], mask=part_mask, origin=box.start))
    random.shuffle(parts)
    assert_equal(total(parts), count(truth, segments, mask=mask))


def test_huge_and_sparse_ids_are_kept_apart():
    ids = np.array([[[2**64 - 4, 2**64 - 5, 2**63, 1, 2**32, 2**64 - 4]]], np.uint64)
    table = count(ids, ids[:, :, ::-1].copy())
    assert sum(table.voxels) == 6
    assert table.truth.tolist() == [1, 2**32, 2**63, 2**64 - 5, 2**64 - 4]
    assert table.segment.tolist() == [2**63, 2**64 - 5, 1, 2**32, 2**64 - 4]


def test_tables_of_many_pairs_are_complete():
    generator = np.random.default_rng(0)
    truth = generator.integers(1, 300, (8, 100, 150), np.uint64)
    segments = generator.integers(0, 2**60, (8, 100, 150), np.uint64)
    pieces = [count(truth[z : z + 1], segments[z : z + 1], origin=(z, 0, 0)) for z in range(8)]
    whole = count(truth, segments)
    assert len(whole) == len(np.unique(np.stack([truth.ravel(), segments.ravel()]), axis=1).T) > 2**16
    assert_equal(total(pieces), whole)


def test_the_total_of_no_tables_is_empty():
    assert len(total([])) == 0
    assert total([]).scored == 0


@given(truth_segments_mask())
def test_a_table_survives_storage(tmp_path_factory, volumes):
    truth, segments, mask = volumes
    table = count(truth, segments, mask=mask)
    path = tmp_path_factory.mktemp("tables") / "table.parquet"
    tables.write(path, table.to_arrays())
    assert_equal(Contingency.from_arrays(tables.read(path)), table)


def test_arrays_of_different_shapes_are_refused():
    with pytest.raises(VolumeError, match=r"one shape.*truth \(1, 1, 2\), segmentation \(1, 2, 1\)"):
        count(np.zeros((1, 1, 2), np.uint8), np.zeros((1, 2, 1), np.uint8))


@pytest.mark.parametrize(("kind", "value", "what"), [("float32", 0.5, "whole numbers.*0.5"), ("c8", 1, "complex64")])
def test_labels_that_are_no_labels_are_refused(kind, value, what):
    with pytest.raises(VolumeError, match=what):
        count(np.full((1, 1, 2), value, kind), np.zeros((1, 1, 2), np.uint8))


@pytest.mark.parametrize("unknown", [np.int16(-1), np.uint64(2**64 - 1), np.uint32(2**32 - 1), np.float32(np.nan)])
def test_truth_that_is_marked_as_unknown_is_not_scored_but_counted(unknown):
    truth = np.array([[[3, 3, 4, 0]]]).astype(unknown.dtype)
    segments = np.array([[[1, 2, 2, 2]]], np.uint8)
    marked = truth.copy()
    marked[truth == 3] = unknown
    expected = count(np.where(truth == 3, 0, truth).astype(np.int64), segments)
    table = count(marked, segments)
    assert_equal(replace(table, unknown=0), expected)
    assert (table.unknown, table.scored) == (2, 4)
    masked = count(marked, segments, mask=np.array([[[True, False, True, True]]]))
    assert (masked.unknown, masked.scored) == (1, 3)


@given(truth_segments_mask(), st.lists(st.integers(0, 3), min_size=4, max_size=4))
def test_a_table_of_coarser_segments_is_the_count_of_these(case, coarser):
    truth, segments, mask = case
    of = np.array(coarser, np.uint64)
    assert_equal(count(truth, segments, mask=mask).of_coarser_segments(of), count(truth, of[segments], mask=mask))
