"""Greedy mean agglomeration equals its slow twin, and what it decides early is what the whole run decides."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from petavox.pipeline.agglomeration import linkage
from petavox.pipeline.agglomeration.contacts import Contacts
from petavox.pipeline.agglomeration.linkage import MergeRule, _compare, _product, merge_closed
from petavox.pipeline.errors import TaskError
from petavox.pipeline.thresholds import Threshold
from twins import greedy


@st.composite
def graphs(draw):
    """Random small graphs whose sums and counts tie often."""
    n = draw(st.integers(2, 12))
    pairs = draw(st.lists(st.tuples(st.integers(0, n - 1), st.integers(0, n - 1)), max_size=40))
    pairs = sorted({(min(p), max(p)) for p in pairs if p[0] != p[1]})
    levels = draw(st.sampled_from([2, 4, 8, 256]))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    counts = rng.integers(1, 5, len(pairs))
    sums = rng.integers(0, levels, len(pairs)) * (255 // (levels - 1)) * counts
    firsts = rng.permutation(len(pairs))
    a, b = np.array(pairs, dtype=np.int64).reshape(-1, 2).T
    contacts = Contacts(a.copy(), b.copy(), sums.astype(np.int64), counts.astype(np.int64), firsts.astype(np.int64))
    rule = MergeRule(
        Threshold(draw(st.integers(0, 1000)) * 1000),
        draw(st.integers(0, 8)),
        Threshold(draw(st.integers(0, 1000)) * 1000),
    )
    return contacts, rng.integers(1, 6, n), rule, rng.random(n) < 0.3


def as_dict(contacts):
    columns = zip(contacts.a, contacts.b, contacts.sum, contacts.count, contacts.first, strict=True)
    return {(int(a), int(b)): [int(s), int(c), int(f)] for a, b, s, c, f in columns}


@settings(deadline=None, max_examples=300)
@given(graphs())
def test_merging_a_whole_graph_equals_the_slow_twin(graph):
    contacts, sizes, rule, _ = graph
    found = merge_closed(contacts, sizes, np.zeros(len(sizes), dtype=bool), rule)
    cluster, merges = greedy.agglomerate(dict(enumerate(sizes.tolist())), as_dict(contacts), rule)
    assert found.node.tolist() == list(cluster.values())
    assert set(zip(*(x.tolist() for x in (found.a, found.b, found.sum, found.count)), strict=True)) == merges
    assert not found.undecided.any()


@settings(deadline=None, max_examples=200)
@given(graphs())
def test_merges_decided_with_open_nodes_are_merges_of_the_whole_run(graph):
    contacts, sizes, rule, is_open = graph
    early = merge_closed(contacts, sizes, is_open, rule)
    assert (early.node[is_open] == np.flatnonzero(is_open)).all()
    whole, _ = greedy.agglomerate(dict(enumerate(sizes.tolist())), as_dict(contacts), rule)
    for node, cluster in enumerate(early.node.tolist()):
        assert whole[node] == whole[cluster]
        if not early.undecided[node]:
            assert {m for m in whole if whole[m] == whole[node]} == set(np.flatnonzero(early.node == cluster).tolist())


def test_more_contacts_than_can_be_numbered_are_refused(monkeypatch):
    monkeypatch.setattr(linkage, "MOST_CONTACTS", 1)
    one = Contacts(*(np.array([value]) for value in (0, 1, 9, 1, 0)))
    with pytest.raises(TaskError, match="fewer than 1 contacts; found 1"):
        merge_closed(one, np.ones(2, np.int64), np.zeros(2, bool), MergeRule(Threshold(0)))


@given(st.integers(0, 2**63 - 1), st.integers(0, 2**63 - 1))
def test_products_are_exact_in_128_bits(a, b):
    high, low = _product(a, b)
    assert int(high) * 2**64 + int(low) == a * b


@given(*[st.integers(1, 2**63 - 1)] * 4)
def test_fractions_are_compared_exactly(a, b, c, d):
    assert _compare(a, b, c, d) == (a * d > c * b) - (a * d < c * b)
