"""Every voxel edge between two supervoxels is counted exactly once, wherever the blocks lie."""

from dataclasses import astuple

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from petavox.pipeline.agglomeration.contacts import Contacts, combine, face_contacts, interior_contacts
from petavox.pipeline.geometry import BlockGrid
from twins import volumes_and_blocks, voxels


def dense_labels(shape, seed):
    """Random labels 0…n, every one in use."""
    values = np.random.default_rng(seed).integers(0, 5, shape)
    return np.unique(values, return_inverse=True)[1].reshape(shape).astype(np.uint32)


@settings(deadline=None, max_examples=100)
@given(volumes_and_blocks())
def test_contacts_of_blocks_and_faces_add_up_to_those_of_the_volume(case):
    volume = case.affinities.shape[1:]
    labels = dense_labels(volume, case.seed)
    grid = BlockGrid(volume, case.block)
    parts = []
    for index in grid.indices():
        box = grid.box(index)
        block = labels[box.slices()]
        parts.append(interior_contacts(block, case.affinities[:, *box.slices()], box, volume))
        for axis in range(3):
            if index[axis]:
                behind = np.take(block, 0, axis)
                before_box = grid.box(tuple(i - (k == axis) for k, i in enumerate(index)))
                before = np.take(labels[before_box.slices()], -1, axis)
                values = np.take(case.affinities[axis][box.slices()], 0, axis)
                picked = (before > 0) & (behind > 0)
                contacts, links = face_contacts(before, behind, values, picked, box.start, volume, axis)
                parts.append(contacts)
                assert set(map(tuple, links)) == set(zip(before[picked] - 1, behind[picked] - 1, strict=True))
    found = combine(Contacts.concatenate(parts))
    expected = voxels.contacts(labels, case.affinities)
    assert {(a + 1, b + 1): [s, c, f] for a, b, s, c, f in zip(*astuple(found), strict=True)} == expected
    assert list(zip(found.a, found.b, strict=True)) == sorted(zip(found.a, found.b, strict=True))


def test_a_table_that_has_to_grow_loses_nothing():
    labels = np.arange(1, 40 * 50 * 3 + 1, dtype=np.uint32).reshape(3, 40, 50)
    affinities = np.random.default_rng(0).integers(0, 256, (3, 3, 40, 50), dtype=np.uint8)
    grid = BlockGrid(labels.shape, labels.shape)
    found = interior_contacts(labels, affinities, grid.box((0, 0, 0)), labels.shape)
    assert len(found) == 2 * 40 * 50 + 3 * 39 * 50 + 3 * 40 * 49
    assert found.count.sum() == len(found)
    assert found.sum.sum() == sum(np.take(affinities[c], range(1, labels.shape[c]), c).sum() for c in range(3))


@given(st.lists(st.tuples(*[st.integers(0, 4)] * 2, *[st.integers(1, 9)] * 3), max_size=20), st.randoms())
def test_combining_does_not_depend_on_order(rows, random):
    def columns(rows):
        return Contacts(*np.array(rows, dtype=np.int64).reshape(-1, 5).T)

    one = combine(columns(rows))
    random.shuffle(rows)
    other = combine(columns(rows))
    assert all(np.array_equal(a, b) for a, b in zip(astuple(one), astuple(other), strict=True))
