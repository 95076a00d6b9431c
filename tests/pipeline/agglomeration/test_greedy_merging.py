"""Greedy agglomeration equals its slow twin, and what it decides early is what the whole run decides."""

from collections import Counter
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from petavox.pipeline.agglomeration import greedy_merging
from petavox.pipeline.agglomeration.greedy_merging import merge_closed
from petavox.pipeline.agglomeration.rules import MergeRule
from petavox.pipeline.agglomeration.small_supervoxels import JoinRule
from petavox.pipeline.errors import TaskError
from petavox.pipeline.thresholds import Threshold
from twins import Rules, graphs, greedy


def merged(graph, is_open):
    edges, sizes, rule, _ = graph
    unsure = np.zeros(len(sizes), dtype=bool)
    return merge_closed(graphs.contacts_of(edges, rule.levels), sizes, is_open, unsure, rule.merge)


@settings(deadline=None, max_examples=300)
@given(graphs.graphs())
def test_merging_a_whole_graph_equals_the_slow_twin(graph):
    edges, sizes, rule, _ = graph
    found = merged(graph, np.zeros(len(sizes), dtype=bool))
    cluster, merges = greedy.agglomerate(dict(enumerate(sizes.tolist())), edges, rule.merge, rule.levels)
    assert found.node.tolist() == list(cluster.values())
    assert not found.undecided.any()
    columns = (found.a, found.b, found.score, found.scale)
    assert [(a, b, Fraction(s, 255 * n)) for a, b, s, n in zip(*(c.tolist() for c in columns), strict=True)] == merges


@settings(deadline=None, max_examples=300)
@given(graphs.graphs())
def test_merges_decided_with_open_nodes_are_merges_of_the_whole_run(graph):
    edges, sizes, rule, is_open = graph
    early = merged(graph, is_open)
    whole, merges = greedy.agglomerate(dict(enumerate(sizes.tolist())), edges, rule.merge, rule.levels)
    expected = Counter(score for _, _, score in merges)
    assert Counter(Fraction(int(s), 255 * int(n)) for s, n in zip(early.score, early.scale, strict=True)) <= expected
    for node, cluster in enumerate(early.node.tolist()):
        assert whole[node] == whole[cluster]
        if not early.undecided[node]:
            assert {m for m in whole if whole[m] == whole[node]} == set(np.flatnonzero(early.node == cluster).tolist())


@settings(deadline=None, max_examples=300)
@given(graphs.graphs(), st.data())
def test_what_open_nodes_turn_out_to_touch_changes_nothing_that_was_decided(graph, data):
    _, _, rule, is_open = graph
    early = merged(graph, is_open)
    together, all_sizes = data.draw(graphs.beyond(graph))
    whole, merges = greedy.agglomerate(all_sizes, together, rule.merge, rule.levels)
    found = Counter(Fraction(int(s), 255 * int(n)) for s, n in zip(early.score, early.scale, strict=True))
    assert found <= Counter(score for _, _, score in merges)
    for node, cluster in enumerate(early.node.tolist()):
        assert whole[node] == whole[cluster]


def test_a_node_with_one_frozen_neighbour_joins_it():
    edges = {(0, 1): [(200, 0)], (1, 2): [(100, 1)], (0, 3): [(250, 2)]}
    rule = Rules(JoinRule(), MergeRule(Threshold(100_000)), 0, 0)
    found = merged((edges, np.ones(4, int), rule, None), np.array([True, False, False, False]))
    assert found.node.tolist() == [0, 0, 0, 0]
    assert found.score.tolist() == [250, 200, 100]


def test_more_contacts_than_can_be_numbered_are_refused(monkeypatch):
    monkeypatch.setattr(greedy_merging, "MOST_CONTACTS", 1)
    one, none = graphs.contacts_of({(0, 1): [(9, 0)]}, 0), np.zeros(2, bool)
    with pytest.raises(TaskError, match="fewer than 1 contacts; found 1"):
        merge_closed(one, np.ones(2, np.int64), none, none, MergeRule(Threshold(0)))


def test_contacts_that_a_histogram_cannot_count_are_refused():
    huge, none = graphs.contacts_of({(0, 1): [(9, 0)]}, 2), np.zeros(2, bool)
    huge.count[0] = 2**32
    rule = MergeRule(Threshold(0), quantile=Threshold(500_000))
    with pytest.raises(TaskError, match="fewer than 4294967296 voxel edges; found 4294967296"):
        merge_closed(huge, np.ones(2, np.int64), none, none, rule)
