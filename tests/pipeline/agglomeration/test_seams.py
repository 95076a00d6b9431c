"""A seam joins what is small at a face, hands it to one side, and touches nothing that may go elsewhere."""

import numpy as np
import pytest

from petavox.pipeline.agglomeration.seams import Side, sew
from petavox.pipeline.agglomeration.small_supervoxels import JoinRule
from petavox.pipeline.thresholds import Threshold
from twins import graphs

BELOW, ABOVE, OTHER = 1, 2, 4
"""The bits of the face where two blocks meet, of the block behind it and of the one before it; and of another one."""
RULE = JoinRule(10, Threshold.parse("0.5"))


def contacts_of(pairs):
    return graphs.contacts_of({pair: [(affinity, affinity)] for pair, affinity in pairs.items()}, 0)


def side(face, *clusters, rim=None):
    """Clusters as (id, size, unsure), and contacts of the rim as {pair: affinity}."""
    ids, sizes, unsure = zip(*clusters, strict=True)
    return Side(np.array(ids, np.uint64), np.array(sizes), np.array(unsure, np.uint8), contacts_of(rim or {}), face)


def sewn(before, behind, contacts=None, links=()):
    return sew(before, behind, contacts_of(contacts or {}), np.array(links, np.int64).reshape(-1, 2), RULE)


def rows(contacts):
    return sorted(zip(*(column.tolist() for column in (contacts.a, contacts.b, contacts.sum)), strict=True))


def links(face):
    return list(zip(face.link_a.tolist(), face.link_b.tolist(), strict=True))


def test_a_small_cluster_goes_with_its_contacts_to_the_large_one_beyond_the_face_that_it_joins():
    before = side(ABOVE, (1, 50, 0), (2, 3, ABOVE), rim={(0, 1): 150})
    seam = sewn(before, side(BELOW, (8, 50, 0)), {(1, 0): 200})
    assert (seam.before.moved_out.tolist(), seam.before.moved_out_to.tolist()) == ([1], [0])
    assert (seam.behind.moved_in.tolist(), seam.behind.moved_in_ids.tolist()) == ([0], [2])
    assert seam.behind.moved_in_sizes.tolist() == [3]
    assert rows(seam.before.contacts) == rows(seam.behind.contacts) == []
    assert rows(seam.face) == [(1, 8, 150)]
    assert (seam.before.ends.tolist(), seam.behind.ends.tolist()) == ([1], [8])
    assert links(seam.face) == []


def test_a_small_cluster_joins_on_its_own_side_what_is_stronger_there():
    before = side(ABOVE, (1, 50, 0), (2, 3, ABOVE), rim={(0, 1): 210})
    seam = sewn(before, side(BELOW, (8, 50, 0)), {(1, 0): 200})
    assert (seam.before.joined.tolist(), seam.before.into.tolist()) == ([1], [0])
    assert seam.before.moved_out.tolist() == seam.behind.moved_out.tolist() == []
    assert rows(seam.face) == [(1, 8, 200)]


@pytest.mark.parametrize("order", [(1, 2), (2, 1)])
def test_what_touches_what_waits_for_another_face_stays_with_that_contact(order):
    small, waiting = order
    clusters = sorted([(0, (1, 50, 0)), (small, (2, 3, ABOVE)), (waiting, (5, 3, OTHER))])
    before = side(ABOVE, *(cluster for _, cluster in clusters), rim={(0, small): 150, (1, 2): 20})
    seam = sewn(before, side(BELOW, (8, 50, 0)), {(small, 0): 200})
    assert seam.before.moved_out.tolist() == seam.behind.moved_out.tolist() == []
    assert links(seam.face) == [(2, 8)]
    assert rows(seam.before.contacts) == [(0, small, 150)]  # that of 2 and 5 is in the core
    assert rows(seam.face) == []


def test_what_is_linked_to_what_waits_for_another_face_joins_nothing():
    before = side(ABOVE, (1, 50, 0), (2, 3, ABOVE), rim={(0, 1): 200})
    seam = sewn(before, side(BELOW, (8, 3, BELOW | OTHER)), {}, [(1, 0)])
    assert seam.before.joined.tolist() == []
    assert rows(seam.face) == [(1, 8, 200)]


def test_what_reaches_through_another_face_too_stays():
    waits, large = (4, 3, ABOVE | OTHER), (8, 50, 0)
    for before, behind, link in ((waits, large, (4, 8)), (large, (4, 3, BELOW | OTHER), (8, 4))):
        seam = sewn(side(ABOVE, before), side(BELOW, behind), {}, [(0, 0)])
        assert seam.before.moved_out.tolist() == seam.behind.moved_out.tolist() == []
        assert links(seam.face) == [link]


def test_what_waits_for_a_cluster_that_waits_for_another_face_stays_on_both_sides():
    before = side(ABOVE, (4, 3, ABOVE))
    seam = sewn(before, side(BELOW, (6, 3, BELOW), (7, 3, OTHER)), {(0, 1): 255}, [(0, 0)])
    assert seam.before.moved_out.tolist() == seam.behind.moved_out.tolist() == []
    assert links(seam.face) == [(4, 6)]
    assert rows(seam.face) == [(4, 7, 255)]


def test_a_crumb_goes_to_the_side_of_its_smallest_id_and_has_no_contacts():
    before = side(ABOVE, (1, 50, 0), (4, 3, ABOVE), rim={(0, 1): 20})
    behind = side(BELOW, (2, 3, BELOW), (8, 50, 0), rim={(0, 1): 30})
    seam = sewn(before, behind, {(1, 1): 40}, [(1, 0)])
    assert seam.before.moved_out.tolist() == [1]
    assert (seam.behind.moved_in_ids.tolist(), seam.behind.moved_in_sizes.tolist()) == ([4], [3])
    assert rows(seam.before.contacts) == rows(seam.behind.contacts) == rows(seam.face) == links(seam.face) == []


def test_small_parts_on_both_sides_are_large_together():
    # Neither 2 nor 6 joins what is behind its strongest edge.
    before = side(ABOVE, (1, 50, 0), (2, 6, ABOVE), rim={(0, 1): 200})
    behind = side(BELOW, (6, 6, BELOW), (8, 50, 0), rim={(0, 1): 150})
    seam = sewn(before, behind, {}, [(1, 0)])
    assert seam.before.joined.tolist() == seam.behind.joined.tolist() == []
    assert seam.behind.moved_out.tolist() == [0]
    assert rows(seam.before.contacts) == [(0, 1, 200)]
    assert rows(seam.face) == [(2, 8, 150)]


def test_large_clusters_stay_and_what_links_them_beyond_the_face_makes_them_one():
    seam = sewn(side(ABOVE, (1, 50, 0), (2, 50, 0)), side(BELOW, (8, 50, 0)), {}, [(0, 0), (1, 0)])
    assert (seam.before.joined.tolist(), seam.before.into.tolist()) == ([1], [0])
    assert seam.before.moved_out.tolist() == seam.behind.moved_out.tolist() == []
    assert links(seam.face) == [(1, 8)]
    assert (seam.before.ends.tolist(), seam.behind.ends.tolist()) == ([1], [8])
