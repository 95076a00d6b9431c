"""A block's graph falls into a core and a rim for every face, and takes what its seams decide."""

import numpy as np
import pytest

from petavox.pipeline.agglomeration.block_graph import Leaf, Share, as_region, grow_leaf
from petavox.pipeline.agglomeration.contacts import Contacts
from petavox.pipeline.agglomeration.small_supervoxels import JoinRule
from petavox.pipeline.thresholds import Threshold
from twins import graphs

ONE, OTHER = 1, 2
"""The bits of two faces."""
RULE = JoinRule(10, Threshold.parse("0.5"))


def numbers(*values):
    return np.array(values, np.int64)


def ids(*values):
    return np.array(values, np.uint64)


def grown(sizes, faces, pairs):
    edges = {pair: [(affinity, number)] for number, (pair, affinity) in enumerate(pairs.items())}
    return grow_leaf(
        np.arange(1, len(sizes) + 1, dtype=np.uint64),
        np.array(sizes, np.int64),
        graphs.contacts_of(edges, 0),
        np.array(faces, np.uint8),
        RULE,
    )


def pairs_of(contacts):
    return sorted(zip(contacts.a.tolist(), contacts.b.tolist(), strict=True))


def test_small_clusters_that_touch_no_face_join_and_crumbs_lose_their_contacts():
    leaf, cluster_of = grown([50, 2, 3, 40], [ONE, 0, 0, 0], {(0, 1): 200, (0, 2): 100, (1, 3): 150, (2, 3): 90})
    assert cluster_of.tolist() == [0, 0, 1, 2]
    assert leaf.ids.tolist() == [1, 3, 4]
    assert leaf.sizes.tolist() == [52, 3, 40]
    assert leaf.unsure.tolist() == [0, 0, 0]
    assert pairs_of(leaf.core) == [(0, 2)]


@pytest.fixture
def waiting():
    """Clusters that wait for one face, for the other, or for both; the last touches none, but will join the fifth."""
    sizes, faces = [50, 1, 1, 1, 1, 50, 1], [OTHER, ONE, OTHER, ONE | OTHER, ONE, 0, 0]
    among = {(0, 1): 200, (1, 2): 201, (1, 4): 202, (0, 3): 203, (0, 5): 204, (2, 3): 205, (3, 4): 206, (4, 6): 207}
    return grown(sizes, faces, among)[0]


def test_a_small_cluster_waits_for_the_faces_that_it_touches_or_that_what_it_will_join_waits_for(waiting):
    assert waiting.unsure.tolist() == [0, ONE, OTHER, ONE | OTHER, ONE, 0, ONE]


def test_the_rim_of_a_face_has_all_contacts_of_what_waits_for_it_alone(waiting):
    assert pairs_of(waiting.rims[ONE]) == [(0, 1), (1, 2), (1, 4), (3, 4), (4, 6)]
    assert pairs_of(waiting.rims[OTHER]) == [(1, 2), (2, 3)]


def test_the_core_has_the_rest_and_what_two_faces_have_to_agree_about(waiting):
    assert pairs_of(waiting.core) == [(0, 3), (0, 5), (1, 2), (2, 3), (3, 4)]


def share(**fields):
    empty = {name: numbers() for name in ("joined", "into", "moved_out", "moved_out_to", "moved_in", "moved_in_sizes")}
    return Share(**{**empty, "moved_in_ids": ids(), "contacts": Contacts.empty(), "ends": ids(), **fields})


@pytest.fixture
def sewn():
    """A block where 20 is one with 10 through one face, through which 50 went; through the other face 30 went, and 20
    took in 3 and 25, with a contact."""
    core = graphs.contacts_of({(0, 3): [(100, 0)]}, 0)
    leaf = Leaf(ids(10, 20, 30, 40, 50), numbers(5, 6, 7, 8, 9), np.zeros(5, np.uint8), core, {})
    one = share(joined=numbers(1), into=numbers(0), moved_out=numbers(4), moved_out_to=numbers(1), ends=ids(10))
    other = share(
        moved_out=numbers(2), moved_out_to=numbers(9),
        moved_in=numbers(1, 1), moved_in_ids=ids(3, 25), moved_in_sizes=numbers(4, 2),
        contacts=graphs.contacts_of({(1, 3): [(50, 1)]}, 0), ends=ids(10, 40),
    )  # fmt: skip
    return as_region(leaf, {ONE: one, OTHER: other})


def test_a_region_has_what_its_seams_joined_and_took_in(sewn):
    region, placement = sewn
    assert region.ids.tolist() == [3, 40]
    assert region.sizes.tolist() == [5 + 6 + 4 + 2, 8]
    assert placement.place[[0, 1, 3]].tolist() == [0, 0, 1]
    assert sorted(placement.pairs.tolist()) == [[10, 3], [20, 3], [25, 3]]


def test_it_is_known_where_the_clusters_went_that_were_handed_over(sewn):
    _, placement = sewn
    number = -1 - placement.place[[2, 4]]
    assert placement.moved_face[number].tolist() == [OTHER, ONE]
    assert placement.moved_to[number].tolist() == [9, 1]


def test_a_region_has_the_contacts_of_its_core_and_of_its_seams_as_one(sewn):
    region, _ = sewn
    assert pairs_of(region.contacts) == [(0, 1)]
    assert (region.contacts.sum.tolist(), region.contacts.count.tolist()) == ([150], [2])


def test_a_region_knows_through_which_faces_a_cluster_reaches(sewn):
    region, _ = sewn
    assert region.fragments.tolist() == [10, 40]
    assert region.clusters.tolist() == [0, 1]
    assert region.faces.tolist() == [ONE | OTHER, OTHER]


def test_a_region_is_sorted_by_the_ids_that_clusters_have_once_they_took_in_others():
    leaf = Leaf(ids(10, 20), numbers(5, 6), np.zeros(2, np.uint8), Contacts.empty(), {})
    taken = share(moved_in=numbers(1), moved_in_ids=ids(3), moved_in_sizes=numbers(4))
    region, placement = as_region(leaf, {ONE: taken})
    assert region.ids.tolist() == [3, 10]
    assert region.sizes.tolist() == [10, 5]
    assert placement.place.tolist() == [1, 0]
