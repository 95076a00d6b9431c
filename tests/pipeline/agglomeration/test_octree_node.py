"""Agglomeration up the octree, in any order and over any blocks, gives segments and merge tree of the whole volume."""

import random
from collections import Counter
from dataclasses import replace
from fractions import Fraction
from functools import partial

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from petavox.pipeline.agglomeration.block_graph import as_region, grow_leaf
from petavox.pipeline.agglomeration.contacts import Contacts, face_contacts, interior_contacts
from petavox.pipeline.agglomeration.greedy_merging import merge_closed
from petavox.pipeline.agglomeration.octree_node import ALL_FACES, decide, face_bit, look_up
from petavox.pipeline.agglomeration.rules import MergeRule
from petavox.pipeline.agglomeration.seams import Side, sew
from petavox.pipeline.geometry import BlockGrid, Octree
from petavox.pipeline.segmentation.relabel import relabel
from petavox.pipeline.segmentation.supervoxels import halo_box, label_fragments
from petavox.pipeline.thresholds import Threshold
from twins import rules, segmentation, volumes_and_blocks, voxels


def shuffled(items, order):
    items = list(items)
    return order.sample(items, k=len(items))


class Blockwise:
    """All stages on arrays in memory, each stage's blocks in random order."""

    def __init__(self, case, rules):
        self.case, self.rules = case, rules
        self.volume = case.affinities.shape[1:]
        self.grid = BlockGrid(self.volume, case.block)
        self.octree = Octree(self.grid, large=case.large)
        self.order = random.Random(case.seed)

    def fragments(self, index):
        box = self.grid.box(index)
        outer = np.ascontiguousarray(self.case.affinities[:, *halo_box(box, self.volume).slices()])
        return label_fragments(outer, box, self.volume, self.case.low, self.case.high)

    def leaf(self, index):
        """The graph of a block, and the labels of its clusters."""
        box, found = self.grid.box(index), self.blocks[index]
        affinities = self.case.affinities[:, *box.slices()]
        contacts = interior_contacts(found.labels, affinities, box, self.volume, self.rules.levels)
        faces = np.zeros(len(found.ids) + 1, np.uint8)
        for axis in range(3):
            if box.start[axis] > 0:
                faces[np.take(found.labels, 0, axis)] |= face_bit(axis, False)
            if box.stop[axis] < self.volume[axis]:
                faces[np.take(found.labels, -1, axis)] |= face_bit(axis, True)
        leaf, cluster_of = grow_leaf(found.ids, found.sizes.astype(np.int64), contacts, faces[1:], self.rules.join)
        return leaf, relabel(found.labels, np.concatenate([[0], cluster_of + 1]).astype(np.uint32))

    def before(self, axis, index):
        return tuple(i - (k == axis) for k, i in enumerate(index))

    def side(self, index, face):
        leaf, _ = self.leaves[index]
        return Side(leaf.ids, leaf.sizes, leaf.unsure, leaf.rims.get(face, Contacts.empty(self.rules.levels)), face)

    def seam(self, axis, index):
        box, before = self.grid.box(index), self.before(axis, index)
        contacts, links = face_contacts(
            np.take(self.leaves[before][1], -1, axis),
            np.take(self.leaves[index][1], 0, axis),
            np.take(self.case.affinities[axis][box.slices()], 0, axis),
            self.blocks[index].crossing[axis],
            box.start,
            self.volume,
            axis,
            self.rules.levels,
        )
        sides = self.side(before, face_bit(axis, True)), self.side(index, face_bit(axis, False))
        return sew(*sides, contacts, links, self.rules.join)

    def region(self, index):
        shares = {}
        for axis in range(3):
            if index[axis] > 0:
                shares[face_bit(axis, False)] = self.seams[axis, index].behind
            after = tuple(i + (k == axis) for k, i in enumerate(index))
            if after[axis] < self.grid.shape[axis]:
                shares[face_bit(axis, True)] = self.seams[axis, after].before
        return as_region(self.leaves[index][0], dict(shuffled(shares.items(), self.order)))

    def child(self, level, child):
        still_open = ALL_FACES
        for axis, above in self.octree.siblings(level - 1, child):
            still_open &= ~face_bit(axis, above)
        return self.decisions[level - 1, child].residual.with_faces(still_open)

    def decide(self, parts, faces):
        merge = partial(merge_closed, rule=self.rules.merge)
        return decide(parts, faces, self.rules.join, merge, self.rules.dust_size)

    def run(self):
        blocks = list(self.grid.indices())
        faces = [(axis, index) for axis in range(3) for index in blocks if index[axis] > 0]
        self.blocks = {index: self.fragments(index) for index in shuffled(blocks, self.order)}
        self.leaves = {index: self.leaf(index) for index in shuffled(blocks, self.order)}
        self.seams = {face: self.seam(*face) for face in shuffled(faces, self.order)}
        self.regions = {index: self.region(index) for index in shuffled(blocks, self.order)}
        self.decisions = {(0, index): self.decide([self.regions[index][0]], []) for index in blocks}
        for level in range(1, self.octree.height + 1):
            nodes = BlockGrid(self.octree.shape(level), (1, 1, 1)).indices()
            for node in shuffled(nodes, self.order):
                parts = [self.child(level, c) for c in shuffled(self.octree.children(level, node), self.order)]
                inner = shuffled(self.octree.inner_faces(level, node), self.order)
                self.decisions[level, node] = self.decide(parts, [self.seams[face].face for face in inner])
        segments = np.zeros(self.volume, np.uint64)
        for index in blocks:
            table = np.concatenate([np.zeros(1, np.uint64), self.of_clusters(index)])
            segments[self.grid.box(index).slices()] = relabel(self.leaves[index][1], table)
        return segments

    def of_clusters(self, index):
        """The segment of every cluster of a leaf: of its own region's node, or of that beyond the face."""
        placement = self.regions[index][1]
        segments = np.append(self.assigned(0, index), np.uint64(0))[np.maximum(placement.place, 0)]
        for cluster in np.flatnonzero(placement.place < 0):
            number = -1 - placement.place[cluster]
            axis, above = divmod(int(placement.moved_face[number]).bit_length() - 1, 2)
            there = tuple(i + (k == axis) * (2 * above - 1) for k, i in enumerate(index))
            place = self.regions[there][1].place[placement.moved_to[number]]
            segments[cluster] = self.assigned(0, there)[place]
        return segments

    def assigned(self, level, node):
        decision = self.decisions[level, node]
        result = decision.target.copy()
        if level < self.octree.height:
            parent = self.octree.parent(level, node)
            waiting = ~decision.final
            known = self.decisions[level + 1, parent].given
            result[waiting] = look_up(decision.target[waiting], known, self.assigned(level + 1, parent))
        return result

    def merges(self):
        """(a, b, score in [0, 1]) of all merges, and the pairs that were linked or joined before them."""
        linked, merges = [pair for _, placement in self.regions.values() for pair in placement.pairs.tolist()], []
        for d in self.decisions.values():
            linked += d.linked.tolist()
            columns = (d.merges.tolist(), d.merge_score.tolist(), d.merge_scale.tolist())
            merges += [(a, b, Fraction(s, 255 * n)) for (a, b), s, n in zip(*columns, strict=True)]
        return linked, merges


def clusters(pairs, seeds):
    """Supervoxel id → smallest id that it is joined with."""
    sets = voxels.DisjointSets()
    for a, b in pairs:
        sets.unite(a, b)
    return {i: sets.find(i) for i in seeds}


@settings(deadline=None, max_examples=400)
@given(volumes_and_blocks(), rules())
def test_segments_do_not_depend_on_blocks(case, rules):
    run = Blockwise(case, rules)
    segments = run.run()
    expected, _ = segmentation.segment(case.affinities, case.low, case.high, rules)
    assert np.array_equal(segments, expected)
    found = {int(i): int(s) for d in run.decisions.values() for i, s in zip(d.segments, d.segment_sizes, strict=True)}
    ids, sizes = np.unique(expected[expected > 0], return_counts=True)
    assert found == dict(zip(ids.tolist(), sizes.tolist(), strict=True))


@settings(deadline=None, max_examples=150)
@given(volumes_and_blocks(), rules())
def test_the_merge_tree_gives_the_clusters_at_every_score(case, rules):
    run = Blockwise(case, replace(rules, dust_size=0))
    run.run()
    linked, merges = run.merges()
    _, expected = segmentation.segment(case.affinities, case.low, case.high, run.rules)
    assert Counter(score for *_, score in merges) == Counter(score for *_, score in expected)
    supervoxels = {int(i) for leaf, _ in run.leaves.values() for i in leaf.ids}
    linked_in_twin = [(a, b) for a, b in clusters(linked, supervoxels).items()]
    for least in {score for *_, score in expected}:
        kept = [(a, b) for a, b, score in merges if score >= least]
        kept_in_twin = [(a, b) for a, b, score in expected if score >= least]
        assert clusters(linked + kept, supervoxels) == clusters(linked_in_twin + kept_in_twin, supervoxels)


@settings(deadline=None, max_examples=60)
@given(volumes_and_blocks(), rules(), st.data())
def test_cutting_the_tree_is_a_run_with_a_higher_threshold_where_sizes_play_no_role(case, rules, data):
    plain = MergeRule(rules.merge.threshold, quantile=rules.merge.quantile)
    run = Blockwise(case, replace(rules, merge=plain, dust_size=0))
    run.run()
    higher = Threshold(data.draw(st.integers(plain.threshold.millionths, 10**6)))
    again = Blockwise(case, replace(run.rules, merge=replace(plain, threshold=higher)))
    again.run()
    kept = [score for *_, score in run.merges()[1] if score >= Fraction(higher.millionths, 10**6)]
    assert sorted(kept) == sorted(score for *_, score in again.merges()[1])
