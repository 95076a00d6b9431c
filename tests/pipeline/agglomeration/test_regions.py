"""Agglomeration up the octree, in any order and over any blocks, gives the segments and merges of the whole volume."""

import random

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from petavox.pipeline.agglomeration.contacts import face_contacts, interior_contacts
from petavox.pipeline.agglomeration.regions import ALL_FACES, FaceTable, decide, face_bit, leaf_region, look_up
from petavox.pipeline.geometry import BlockGrid, Octree
from petavox.pipeline.segmentation.relabel import relabel
from petavox.pipeline.segmentation.supervoxels import halo_box, label_fragments
from twins import rules, segmentation, volumes_and_blocks


def shuffled(items, order):
    items = list(items)
    return order.sample(items, k=len(items))


class Blockwise:
    """All stages on arrays in memory, each stage's blocks in random order."""

    def __init__(self, case, rule, dust_size):
        self.case, self.rule, self.dust_size = case, rule, dust_size
        self.volume = case.affinities.shape[1:]
        self.grid = BlockGrid(self.volume, case.block)
        self.octree = Octree(self.grid.shape)
        self.order = random.Random(case.seed)

    def fragments(self, index):
        box = self.grid.box(index)
        outer = np.ascontiguousarray(self.case.affinities[:, *halo_box(box, self.volume).slices()])
        return label_fragments(outer, box, self.volume, self.case.low, self.case.high)

    def leaf(self, index):
        box, found = self.grid.box(index), self.blocks[index]
        contacts = interior_contacts(found.labels, self.case.affinities[:, *box.slices()], box, self.volume)
        faces = np.zeros(len(found.ids) + 1, np.uint8)
        for axis in range(3):
            if box.start[axis] > 0:
                faces[np.take(found.labels, 0, axis)] |= face_bit(axis, False)
            if box.stop[axis] < self.volume[axis]:
                faces[np.take(found.labels, -1, axis)] |= face_bit(axis, True)
        return leaf_region(found.ids, found.sizes.astype(np.int64), contacts, faces[1:])

    def face(self, axis, index):
        box, behind = self.grid.box(index), self.blocks[index]
        before = self.blocks[tuple(i - (k == axis) for k, i in enumerate(index))]
        contacts, links = face_contacts(
            np.take(before.labels, -1, axis),
            np.take(behind.labels, 0, axis),
            np.take(self.case.affinities[axis][box.slices()], 0, axis),
            behind.crossing[axis],
            box.start,
            self.volume,
            axis,
        )
        a, b = before.ids, behind.ids
        table = (a[contacts.a], b[contacts.b], contacts.sum, contacts.count, contacts.first)
        return FaceTable(*table, a[links[:, 0]], b[links[:, 1]])

    def child(self, level, child):
        still_open = ALL_FACES
        for axis in range(3):
            if child[axis] % 2:
                still_open &= ~face_bit(axis, False)
            elif child[axis] + 1 < self.octree.shape(level - 1)[axis]:
                still_open &= ~face_bit(axis, True)
        return self.decisions[level - 1, child].residual.with_faces(still_open)

    def run(self):
        self.blocks = {index: self.fragments(index) for index in shuffled(self.grid.indices(), self.order)}
        self.decisions = {
            (0, index): decide([self.leaf(index)], [], self.rule, self.dust_size)
            for index in shuffled(self.grid.indices(), self.order)
        }
        for level in range(1, self.octree.height + 1):
            nodes = BlockGrid(self.octree.shape(level), (1, 1, 1)).indices()
            for node in shuffled(nodes, self.order):
                parts = [self.child(level, c) for c in shuffled(self.octree.children(level, node), self.order)]
                faces = [self.face(*face) for face in shuffled(self.octree.inner_faces(level, node), self.order)]
                self.decisions[level, node] = decide(parts, faces, self.rule, self.dust_size)
        segments = np.zeros(self.volume, np.uint64)
        for index in self.grid.indices():
            table = np.concatenate([np.zeros(1, np.uint64), self.assigned(0, index)])
            segments[self.grid.box(index).slices()] = relabel(self.blocks[index].labels, table)
        return segments

    def assigned(self, level, node):
        decision = self.decisions[level, node]
        result = decision.target.copy()
        if level < self.octree.height:
            parent = self.octree.parent(node)
            waiting = ~decision.final
            known = self.decisions[level + 1, parent].given
            result[waiting] = look_up(decision.target[waiting], known, self.assigned(level + 1, parent))
        return result

    def merges(self):
        found = [
            (int(a), int(b), int(s), int(c))
            for d in self.decisions.values()
            for (a, b), s, c in zip(d.merges, d.merge_sum, d.merge_count, strict=True)
        ]
        assert len(found) == len(set(found))
        return set(found)


@settings(deadline=None, max_examples=300)
@given(volumes_and_blocks(), rules())
def test_segments_and_merges_do_not_depend_on_blocks(case, rule_and_dust):
    rule, dust_size = rule_and_dust
    run = Blockwise(case, rule, dust_size)
    segments = run.run()
    expected, merges = segmentation.segment(case.affinities, case.low, case.high, rule, dust_size)
    assert np.array_equal(segments, expected)
    assert run.merges() == merges
    found = {int(i): int(s) for d in run.decisions.values() for i, s in zip(d.segments, d.segment_sizes, strict=True)}
    ids, sizes = np.unique(expected[expected > 0], return_counts=True)
    assert found == dict(zip(ids.tolist(), sizes.tolist(), strict=True))


@settings(deadline=None, max_examples=60)
@given(volumes_and_blocks(), rules(), st.data())
def test_scores_fall_towards_the_root_of_the_merge_tree_without_the_small_rule(case, rule_and_dust, data):
    rule, _ = rule_and_dust
    run = Blockwise(case, type(rule)(rule.threshold), 0)
    run.run()
    higher = data.draw(st.integers(rule.threshold.millionths, 10**6))
    _, kept = segmentation.segment(case.affinities, case.low, case.high, type(rule)(type(rule.threshold)(higher)))
    assert kept == {m for m in run.merges() if m[2] * 10**6 >= higher * 255 * m[3]}
