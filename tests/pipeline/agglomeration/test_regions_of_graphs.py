"""Regions joined in two steps decide what the whole graph would: random graphs, richer than small volumes can be."""

from collections import Counter
from dataclasses import dataclass
from fractions import Fraction
from functools import partial

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from petavox.pipeline.agglomeration.joining import JoinRule
from petavox.pipeline.agglomeration.linkage import MergeRule, merge_closed
from petavox.pipeline.agglomeration.regions import FaceTable, decide, face_bit, leaf_region, look_up
from petavox.pipeline.thresholds import Threshold
from twins import Rules, graphs, greedy, rules, voxels

NEAR, FAR = face_bit(0, above=True), face_bit(1, above=True)
"""Leaves 0 and 1 meet at a face that closes in the first step, so do 2 and 3; all other faces close in the second."""


@dataclass(frozen=True)
class Case:
    """Nodes by id: their sizes and leaves; voxel edges by pair; pairs that are linked; and the rules."""

    sizes: dict
    leaves: dict
    edges: dict
    links: list
    rules: Rules


@st.composite
def cases(draw):
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    n = draw(st.integers(2, 16))
    ids = np.sort(rng.choice(np.arange(1, 100), n, replace=False)).tolist()
    grey = np.linspace(0, 255, draw(st.sampled_from([2, 3, 8, 256]))).round().astype(int)
    pairs = [(a, b) for i, a in enumerate(ids) for b in ids[i + 1 :] if rng.random() < 4 / n]
    numbers = iter(rng.permutation(3 * len(pairs) + 1).tolist())
    edges = {pair: [(int(rng.choice(grey)), next(numbers)) for _ in range(rng.integers(1, 4))] for pair in pairs}
    leaves = {i: int(rng.integers(0, 4)) for i in ids}
    links = [(a, b) for a, b in pairs if leaves[a] != leaves[b] and rng.random() < draw(st.sampled_from([0, 0.2]))]
    sizes = {i: int(rng.choice([1, 1, 2, 5, 20])) for i in ids}
    return Case(sizes, leaves, edges, links, draw(rules()))


class InTwoSteps:
    def __init__(self, case):
        self.case = case
        self.leaves = [self.decide([self.leaf(k)], []) for k in range(4)]
        halves = [[self.leaves[k].residual.with_faces(FAR) for k in (first, first + 1)] for first in (0, 2)]
        self.halves = [self.decide(halves[k], [self.face({2 * k}, {2 * k + 1})]) for k in (0, 1)]
        ends = [half.residual.with_faces(0) for half in self.halves]
        self.whole = self.decide(ends, [self.face({0, 1}, {2, 3})])

    def decide(self, parts, faces):
        merge = partial(merge_closed, rule=self.case.rules.merge)
        return decide(parts, faces, self.case.rules.join, merge, self.case.rules.dust_size)

    def leaf(self, leaf):
        case = self.case
        ids = [i for i, k in case.leaves.items() if k == leaf]
        inside = {
            (ids.index(a), ids.index(b)): found
            for (a, b), found in case.edges.items()
            if case.leaves[a] == case.leaves[b] == leaf
        }
        faces = np.zeros(len(ids), np.uint8)
        for pair in case.edges:
            for one, other in (pair, pair[::-1]):
                if case.leaves[one] == leaf != case.leaves[other]:
                    faces[ids.index(one)] |= NEAR if case.leaves[other] // 2 == leaf // 2 else FAR
        contacts = graphs.contacts_of(inside, case.rules.levels)
        sizes = np.array([case.sizes[i] for i in ids], np.int64)
        return leaf_region(np.array(ids, np.uint64), sizes, contacts, faces)

    def face(self, before, behind):
        case = self.case
        crossing = {}
        for (a, b), found in case.edges.items():
            for one, other in ((a, b), (b, a)):
                if case.leaves[one] in before and case.leaves[other] in behind:
                    crossing[one, other] = found
        contacts = graphs.contacts_of(crossing, case.rules.levels)
        links = [pair for pair in crossing if pair in case.links or pair[::-1] in case.links]
        ends = np.array(links, np.uint64).reshape(-1, 2).T
        return FaceTable(
            contacts.a.astype(np.uint64), contacts.b.astype(np.uint64),
            contacts.sum, contacts.count, contacts.best, contacts.histogram, *ends,
        )  # fmt: skip

    def segments(self):
        """Node id → segment."""
        found = {}
        for leaf, half in zip(self.leaves, [self.halves[0]] * 2 + [self.halves[1]] * 2, strict=True):
            for node, target, final in zip(leaf.given, leaf.target, leaf.final, strict=True):
                for above in (half, self.whole):
                    if final:
                        break
                    place = np.array([target])
                    final = look_up(place, above.given, above.final)[0]
                    target = look_up(place, above.given, above.target)[0]
                found[int(node)] = int(target)
        return found

    def merge_tree(self):
        """What was linked or joined, and what was merged at which score."""
        decisions = [*self.leaves, *self.halves, self.whole]
        rows = [(d.merges.tolist(), d.merge_score.tolist(), d.merge_scale.tolist()) for d in decisions]
        merges = [(*pair, Fraction(s, 255 * n)) for row in rows for pair, s, n in zip(*row, strict=True)]
        return [pair for d in decisions for pair in d.linked.tolist()], merges


def by_definition(case):
    """Node id → segment; what was linked or joined, and what was merged at which score."""
    sets = voxels.DisjointSets()
    for a, b in case.links:
        sets.unite(a, b)
    sizes, contacts = {}, {}
    for node, size in case.sizes.items():
        sizes[sets.find(node)] = sizes.get(sets.find(node), 0) + size
    for pair, found in case.edges.items():
        a, b = sorted(map(sets.find, pair))
        if a != b:
            contacts[a, b] = contacts.get((a, b), []) + found
    joined, sizes, contacts = greedy.join_small(sizes, contacts, case.rules.join)
    cluster, merges = greedy.agglomerate(sizes, contacts, case.rules.merge, case.rules.levels)
    total = Counter()
    for node, size in sizes.items():
        total[cluster[node]] += size
    kept = {root: root if size >= case.rules.dust_size else 0 for root, size in total.items()}
    first = {i: joined[sets.find(i)] for i in case.sizes}
    return {i: kept[cluster[root]] for i, root in first.items()}, (list(first.items()), merges)


def cut(tree, score, nodes):
    """Node id → smallest id of its cluster at a score."""
    joined, merges = tree
    sets = voxels.DisjointSets()
    for a, b in [*joined, *((a, b) for a, b, s in merges if s >= score)]:
        sets.unite(a, b)
    return {i: sets.find(i) for i in nodes}


def check(case):
    found = InTwoSteps(case)
    segments, tree = by_definition(case)
    assert found.segments() == segments
    scores = Counter(score for *_, score in tree[1])
    assert Counter(score for *_, score in found.merge_tree()[1]) == scores
    for score in scores:
        assert cut(found.merge_tree(), score, case.sizes) == cut(tree, score, case.sizes)


@settings(deadline=None, max_examples=1000)
@given(cases())
def test_what_is_decided_early_is_what_the_whole_graph_decides(case):
    check(case)


def case_of(edges, sizes, leaves, join, threshold):
    rules = Rules(JoinRule(*join), MergeRule(Threshold.parse(threshold)), 0, 0)
    numbered = {pair: [(v, 10 * i + k) for k, v in enumerate(found)] for i, (pair, found) in enumerate(edges.items())}
    return Case(dict(enumerate(sizes, 1)), dict(enumerate(leaves, 1)), numbered, [], rules)


def test_a_small_open_node_takes_in_nothing_before_it_has_joined():
    # 1 is small and will join 3 beyond the face; with 2 in it, it would not be small any more.
    edges = {(1, 2): [100], (1, 3): [255, *[0] * 9]}
    check(case_of(edges, (3, 5, 20), (0, 0, 1), (6, Threshold.parse("0.8")), "0.3"))


def test_what_joins_an_open_node_does_not_speak_for_it_at_higher_scores():
    # 1 joins 2 at 150 before it is known that 2 and 3 merge at 200.
    edges = {(1, 2): [150], (2, 3): [200]}
    check(case_of(edges, (5, 5, 5), (0, 0, 1), (0, Threshold.parse("1")), "0.3"))
