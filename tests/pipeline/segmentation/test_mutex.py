"""Fragments by the mutex watershed obey long-range repulsion, are connected, and agree at the faces of blocks."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from petavox.pipeline.errors import AffinityError, RequestError
from petavox.pipeline.geometry import BlockGrid, Box
from petavox.pipeline.segmentation.mutex import label_mutex_fragments
from petavox.pipeline.segmentation.supervoxels import halo_box
from petavox.pipeline.thresholds import Threshold
from twins import regions, volumes_and_blocks
from twins.voxels import DisjointSets

OFFSETS = ((2, 0, 0), (0, -2, 0), (0, 0, 3), (1, 2, 0))
NONE, ALL = Threshold(0), Threshold(10**6)


def cut(case, index, strides=(1, 1, 1), region=None):
    """The fragments of one block of a case, with long-range affinities drawn from the case's seed."""
    volume = case.affinities.shape[1:]
    grey = np.unique(case.affinities)
    long_range = np.random.default_rng(case.seed + 1).choice(grey, size=(len(OFFSETS), *volume))
    box = BlockGrid(volume, case.block, region).box(index)
    nearest = np.ascontiguousarray(case.affinities[:, *halo_box(box, volume, region).slices()])
    inside = np.ascontiguousarray(long_range[:, *box.slices()])
    return box, label_mutex_fragments(nearest, inside, OFFSETS, box, volume, case.low, case.high, strides, region)


def slow_clusters(affinities, long_range, offsets, foreground):
    """The mutex watershed by its definition, where no two edges have the same weight."""
    edges = []
    for channel, offset in [*enumerate(np.eye(3, dtype=int)), *enumerate(offsets, 3)]:
        for p in np.ndindex(foreground.shape):
            q = tuple(int(a - b) for a, b in zip(p, offset, strict=True))
            inside = all(0 <= a < n for a, n in zip(q, foreground.shape, strict=True))
            if inside and foreground[p] and foreground[q]:
                value = int(affinities[(channel, *p)]) if channel < 3 else 255 - int(long_range[(channel - 3, *p)])
                edges.append((value, channel >= 3, p, q))
    sets, forbidden = DisjointSets(), []
    for _, repels, p, q in sorted(edges, reverse=True):
        a, b = sets.find(p), sets.find(q)
        apart = any({sets.find(u), sets.find(v)} == {a, b} for u, v in forbidden)
        if repels and a != b:
            forbidden.append((p, q))
        elif not repels and a != b and not apart:
            sets.unite(p, q)
    return sets


@settings(deadline=None, max_examples=60)
@given(st.tuples(*[st.integers(1, 3)] * 3), st.integers(0, 2**32 - 1))
def test_fragments_of_a_whole_volume_are_the_mutex_watershed(shape, seed):
    offsets = ((1, 1, 0), (0, 0, 2), (0, -2, 0))
    weights = np.random.default_rng(seed).permutation(256)[: 6 * int(np.prod(shape))]
    grey = weights.reshape(6, *shape).astype(np.uint8)
    grey[3:] = 255 - grey[3:]  # so that no two edges tie
    box = Box.of_shape(shape)
    found = label_mutex_fragments(grey[:3], grey[3:], offsets, box, shape, NONE, ALL, (1, 1, 1))
    sets = slow_clusters(grey[:3], grey[3:], offsets, found.labels > 0)
    voxels = list(np.ndindex(shape))
    for p in voxels:
        for q in voxels:
            if found.labels[p] and found.labels[q]:
                assert (found.labels[p] == found.labels[q]) == (sets.find(p) == sets.find(q))


@settings(deadline=None, max_examples=60)
@given(volumes_and_blocks(), st.data())
def test_nothing_crosses_the_faces_of_a_region(case, data):
    region = data.draw(regions(case.affinities.shape[1:]))
    box, found = cut(case, (0, 0, 0), region=region)
    whole = replace(case, affinities=case.affinities[:, *region.slices()])
    assert box.start == region.start
    assert not any(crossing.any() for crossing in found.crossing)
    foreground = np.zeros(region.shape, bool)
    for axis in range(3):
        strong = np.moveaxis(whole.affinities[axis] >= case.low.least_affinity, axis, 0)[1:]
        np.moveaxis(foreground, axis, 0)[1:] |= strong
        np.moveaxis(foreground, axis, 0)[:-1] |= strong
    assert np.array_equal(found.labels > 0, foreground[box.slices(region.start)])


@settings(deadline=None, max_examples=60)
@given(volumes_and_blocks())
def test_labels_are_dense_connected_and_canonical(case):
    volume = case.affinities.shape[1:]
    for index in BlockGrid(volume, case.block).indices():
        box, found = cut(case, index)
        n = len(found.ids)
        assert found.labels.dtype == np.uint32
        assert found.sizes.tolist() == np.bincount(found.labels.ravel(), minlength=n + 1)[1:].tolist()
        linear = np.arange(np.prod(volume)).reshape(volume)[box.slices()]
        assert found.ids.tolist() == [1 + int(linear[found.labels == label].min()) for label in range(1, n + 1)]
        sets = DisjointSets()
        for axis in range(3):
            for p in np.ndindex(found.labels.shape):
                q = tuple(int(i - (k == axis)) for k, i in enumerate(p))
                strong = case.affinities[(axis, *(i + s for i, s in zip(p, box.start, strict=True)))]
                same = p[axis] > 0 and found.labels[p] == found.labels[q] > 0
                if same and strong >= case.low.least_affinity:
                    sets.unite(p, q)
        for label in range(1, n + 1):
            assert len({sets.find(tuple(p)) for p in np.argwhere(found.labels == label).tolist()}) == 1


@settings(deadline=None, max_examples=60)
@given(volumes_and_blocks())
def test_blocks_agree_on_the_background_and_are_linked_where_the_affinity_passes_high(case):
    volume = case.affinities.shape[1:]
    labels = np.zeros(volume, dtype=np.uint32)
    for index in BlockGrid(volume, case.block).indices():
        box, found = cut(case, index)
        labels[box.slices()] = found.labels
        for axis in range(3):
            face = np.take(case.affinities[axis][box.slices()], 0, axis)
            expected = (face >= case.high.least_affinity) & (box.start[axis] > 0)
            assert np.array_equal(found.crossing[axis], expected)
            if box.start[axis] > 0:
                here = np.take(found.labels, 0, axis)[expected]
                below = np.take(labels, box.start[axis] - 1, axis)
                beside = tuple(s for i, s in enumerate(box.slices()) if i != axis)
                assert here.all()
                assert below[beside][expected].all()
    _, whole = cut(replace(case, block=volume), (0, 0, 0))
    assert np.array_equal(labels > 0, whole.labels > 0)


@settings(deadline=None, max_examples=30)
@given(volumes_and_blocks(), st.tuples(*[st.integers(1, 3)] * 3))
def test_the_same_block_gives_the_same_fragments(case, strides):
    first, second = (cut(case, (0, 0, 0), strides)[1] for _ in range(2))
    assert np.array_equal(first.labels, second.labels)


def test_long_range_edges_keep_apart_what_a_leak_would_join():
    nearest = np.full((3, 1, 1, 6), 200, np.uint8)
    long_range = np.full((1, 1, 1, 6), 255, np.uint8)
    nearest[2, 0, 0, 3] = 150  # a thin membrane between voxels 2 and 3, which the nearest edge does not see well
    long_range[0, 0, 0, 3:5] = 0
    box = Box.of_shape((1, 1, 6))
    found = label_mutex_fragments(nearest, long_range, [(0, 0, 2)], box, (1, 1, 6), NONE, ALL, (1, 1, 1))
    assert found.labels.ravel().tolist() == [1, 1, 1, 2, 2, 2]
    assert found.ids.tolist() == [1, 4]


@pytest.mark.parametrize(
    ("long_range", "offsets", "message"),
    [
        (np.zeros((0, 1, 2, 2), np.uint8), [], "needs long-range affinity channels"),
        (np.zeros((1, 1, 2, 3), np.uint8), [(0, 2, 0)], r"shape \(1, 1, 2, 2\); found uint8 \(1, 1, 2, 3\)"),
        (np.zeros((1, 1, 2, 2), np.float32), [(0, 2, 0)], "found float32"),
    ],
)
def test_long_range_affinities_that_do_not_fit_are_refused(long_range, offsets, message):
    with pytest.raises(AffinityError, match=message):
        label_mutex_fragments(
            np.zeros((3, 1, 2, 2), np.uint8), long_range, offsets, Box.of_shape((1, 2, 2)), (1, 2, 2), NONE, ALL
        )


@pytest.mark.parametrize(
    ("low", "high", "strides", "message"),
    [(ALL, NONE, (1, 1, 1), "low must not exceed high"), (NONE, ALL, (1, 0, 1), "Strides must be at least 1")],
)
def test_impossible_settings_are_refused(low, high, strides, message):
    zeros = np.zeros((3, 1, 2, 2), np.uint8)
    with pytest.raises(RequestError, match=message):
        label_mutex_fragments(zeros, zeros[:1], [(0, 2, 0)], Box.of_shape((1, 2, 2)), (1, 2, 2), low, high, strides)
