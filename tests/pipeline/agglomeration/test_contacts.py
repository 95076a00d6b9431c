"""Every voxel edge between two supervoxels is counted exactly once, wherever the blocks lie."""

from dataclasses import astuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from petavox.pipeline.agglomeration.contacts import (
    Contacts,
    combine,
    face_contacts,
    interior_contacts,
    level_of_affinity,
)
from petavox.pipeline.errors import RequestError
from petavox.pipeline.geometry import BlockGrid
from twins import volumes_and_blocks, voxels


def dense_labels(shape, seed):
    """Random labels 0…n, every one in use."""
    values = np.random.default_rng(seed).integers(0, 5, shape)
    return np.unique(values, return_inverse=True)[1].reshape(shape).astype(np.uint32)


@settings(deadline=None, max_examples=100)
@given(volumes_and_blocks(), st.data())
def test_contacts_of_blocks_and_faces_add_up_to_those_of_the_volume(case, data):
    volume = case.affinities.shape[1:]
    labels = dense_labels(volume, case.seed)
    grid = BlockGrid(volume, case.block)
    levels = data.draw(st.sampled_from([0, 2, 5, 256]))
    parts = []
    for index in grid.indices():
        box = grid.box(index)
        block = labels[box.slices()]
        parts.append(interior_contacts(block, case.affinities[:, *box.slices()], box, volume, levels))
        for axis in range(3):
            if index[axis]:
                behind = np.take(block, 0, axis)
                before_box = grid.box(tuple(i - (k == axis) for k, i in enumerate(index)))
                before = np.take(labels[before_box.slices()], -1, axis)
                values = np.take(case.affinities[axis][box.slices()], 0, axis)
                picked = (before > 0) & (behind > 0)
                contacts, links = face_contacts(before, behind, values, picked, box.start, volume, axis, levels)
                parts.append(contacts)
                assert set(map(tuple, links)) == set(zip(before[picked] - 1, behind[picked] - 1, strict=True))
    found = combine(Contacts.concatenate(parts))
    assert as_rows(found) == as_rows_by_definition(voxels.contacts(labels, case.affinities), levels)
    assert list(zip(found.a, found.b, strict=True)) == sorted(zip(found.a, found.b, strict=True))


def as_rows(contacts):
    columns = (contacts.a + 1, contacts.b + 1, contacts.sum, contacts.count, contacts.best, contacts.histogram)
    return {(int(a), int(b)): (s, c, e, h.tolist()) for a, b, s, c, e, h in zip(*columns, strict=True)}


def as_rows_by_definition(edges, levels):
    rows = {}
    for pair, found in edges.items():
        affinity, edge = max(found)
        rounded = [round(value / 255 * (levels - 1)) for value, _ in found] if levels else []
        histogram = [rounded.count(level) for level in range(levels)]
        rows[pair] = (sum(value for value, _ in found), len(found), affinity * 2**55 + edge, histogram)
    return rows


def test_a_table_that_has_to_grow_loses_nothing():
    labels = np.arange(1, 40 * 50 * 3 + 1, dtype=np.uint32).reshape(3, 40, 50)
    affinities = np.random.default_rng(0).integers(0, 256, (3, 3, 40, 50), dtype=np.uint8)
    grid = BlockGrid(labels.shape, labels.shape)
    found = interior_contacts(labels, affinities, grid.box((0, 0, 0)), labels.shape)
    assert len(found) == 2 * 40 * 50 + 3 * 39 * 50 + 3 * 40 * 49
    assert found.count.sum() == len(found)
    assert found.sum.sum() == sum(np.take(affinities[c], range(1, labels.shape[c]), c).sum() for c in range(3))


def test_one_node_may_have_more_contacts_than_a_chain_holds():
    labels = np.full((2, 60, 60), 10_000, np.uint32)
    labels[1] = np.arange(1, 3601, dtype=np.uint32).reshape(60, 60)
    labels = np.unique(labels, return_inverse=True)[1].reshape(labels.shape).astype(np.uint32) + 1
    affinities = np.random.default_rng(1).integers(0, 256, (3, *labels.shape), dtype=np.uint8)
    whole = BlockGrid(labels.shape, labels.shape).box((0, 0, 0))
    found = interior_contacts(labels, affinities, whole, labels.shape)
    assert as_rows(found) == as_rows_by_definition(voxels.contacts(labels, affinities), 0)


def test_volumes_whose_edges_cannot_be_numbered_are_refused():
    voxel = np.ones((1, 1, 1), np.uint32)
    block = BlockGrid((1, 1, 1), (1, 1, 1)).box((0, 0, 0))
    with pytest.raises(RequestError, match="fewer than 2"):
        interior_contacts(voxel, np.zeros((3, 1, 1, 1), np.uint8), block, (2**20, 2**20, 2**20))


@pytest.mark.parametrize("levels", [-1, 1, 257])
def test_levels_that_affinities_cannot_have_are_refused(levels):
    with pytest.raises(RequestError, match="2 to 256 levels"):
        level_of_affinity(levels)


@given(st.lists(st.tuples(*[st.integers(0, 4)] * 2, *[st.integers(1, 9)] * 5), max_size=20), st.randoms())
def test_combining_does_not_depend_on_order(rows, random):
    def columns(rows):
        table = np.array(rows, dtype=np.int64).reshape(-1, 7)
        return Contacts(*table[:, :5].T, table[:, 5:].astype(np.uint32))

    one = combine(columns(rows))
    random.shuffle(rows)
    other = combine(columns(rows))
    assert all(np.array_equal(a, b) for a, b in zip(astuple(one), astuple(other), strict=True))


@given(
    st.lists(st.tuples(*[st.integers(0, 4)] * 2, *[st.integers(1, 9)] * 5, st.booleans()), max_size=20),
    st.lists(st.integers(0, 2), min_size=5, max_size=5),
)
def test_contacts_between_new_names_are_the_sums_of_those_that_are_kept(rows, names):
    table = np.array(rows, dtype=np.int64).reshape(-1, 8)
    contacts = Contacts(*table[:, :5].T, table[:, 5:7].astype(np.uint32))
    renamed = contacts.renamed(np.array(names), table[:, 7] == 1)

    expected: dict[tuple[int, int], list[int]] = {}
    for a, b, total, count, best, low, high, gone in rows:
        pair = tuple(sorted((names[a], names[b])))
        if not gone and pair[0] != pair[1]:
            before = expected.get(pair, [0, 0, 0, 0, 0])
            sums = [before[0] + total, before[1] + count]
            expected[pair] = [*sums, max(before[2], best), before[3] + low, before[4] + high]
    columns = (renamed.a, renamed.b, renamed.sum, renamed.count, renamed.best, *renamed.histogram.T)
    found = {(row[0], row[1]): row[2:] for row in np.stack(columns, axis=1).tolist()}
    assert found == expected
    assert list(found) == sorted(expected)
