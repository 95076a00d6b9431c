"""Small supervoxels join what they join in the whole run, whatever lies beyond the part that is known."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from petavox.pipeline.agglomeration.small_supervoxels import JoinRule, join_small, linked
from petavox.pipeline.thresholds import Threshold
from twins import graphs, greedy


@settings(deadline=None, max_examples=300)
@given(graphs.graphs())
def test_a_whole_graph_equals_the_slow_twin(graph):
    edges, sizes, rules, _ = graph
    found = join_small(graphs.contacts_of(edges, 0), sizes, np.zeros(len(sizes), np.uint8), rules.join)
    cluster, total, _ = greedy.join_small(dict(enumerate(sizes.tolist())), edges, rules.join)
    assert found.node.tolist() == list(cluster.values())
    assert found.crumb.tolist() == [total[root] < rules.join.size for root in cluster.values()]
    assert not found.unsure.any()
    assert not found.waiting.any()


@settings(deadline=None, max_examples=300)
@given(graphs.graphs(), st.data())
def test_what_open_nodes_turn_out_to_touch_changes_nothing_that_was_decided(graph, data):
    edges, sizes, rules, is_open = graph
    early = join_small(graphs.contacts_of(edges, 0), sizes, is_open.astype(np.uint8), rules.join)
    together, all_sizes = data.draw(graphs.beyond(graph))
    whole, _, _ = greedy.join_small(all_sizes, together, rules.join)
    for node, cluster in enumerate(early.node.tolist()):
        assert whole[node] == whole[cluster]
    for cluster in set(early.node[~early.waiting & ~is_open].tolist()):
        known = set(np.flatnonzero(early.node == cluster).tolist())
        if not is_open[list(known)].any():
            assert {m for m in whole if whole[m] == whole[cluster]} == known


def test_a_small_node_joins_a_large_open_one_and_waits_for_a_small_open_one():
    edges = {(0, 1): [(200, 0)], (2, 3): [(200, 1)]}
    sizes, is_open = np.array([50, 1, 1, 1]), np.array([True, False, True, False])
    found = join_small(graphs.contacts_of(edges, 0), sizes, is_open.astype(np.uint8), JoinRule(10, Threshold(100_000)))
    assert found.node.tolist() == [0, 0, 2, 3]
    assert found.unsure.tolist() == [0, 0, 1, 1]
    assert found.waiting.tolist() == [False, False, True, True]


def test_a_large_node_waits_for_a_small_open_one_and_knows_what_it_is_itself():
    edges = {(0, 1): [(200, 0)], (2, 3): [(200, 1)]}
    sizes, faces = np.array([1, 50, 50, 1]), np.array([1, 0, 0, 1], np.uint8)
    found = join_small(graphs.contacts_of(edges, 0), sizes, faces, JoinRule(10, Threshold(100_000)))
    assert found.node.tolist() == [0, 1, 2, 3]
    assert found.unsure.tolist() == [1, 0, 0, 1]
    assert found.waiting.tolist() == [True, True, True, True]


def test_what_is_linked_has_the_smallest_node_of_all():
    assert linked(np.array([3, 1, 4]), np.array([4, 2, 0]), 6).tolist() == [0, 1, 1, 0, 0, 5]


def test_an_edge_may_just_pass_and_a_node_of_just_the_size_is_not_small():
    edges = {(0, 1): [(128, 0)], (2, 3): [(128, 1)], (4, 5): [(127, 2)]}
    sizes, none = np.array([9, 50, 10, 50, 9, 50]), np.zeros(6, np.uint8)
    found = join_small(graphs.contacts_of(edges, 0), sizes, none, JoinRule(10, Threshold.parse("0.5")))
    assert found.node.tolist() == [0, 0, 2, 3, 4, 5]
    assert found.crumb.tolist() == [False, False, False, False, True, False]
