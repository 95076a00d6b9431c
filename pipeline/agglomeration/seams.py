"""Seams: the small supervoxels that the face between two blocks cuts join their neighbours before the octree starts.

Most of what a face cuts is small and touches no other face, so the two blocks together know all there is to know of it.
A seam follows the edges of just these clusters and hands each to one side, with its contacts. What is left at the face
is what is large, which the octree is for; and it is left to the face, not to every level up to the one where it closes.

    block before   │  block behind      ─  contact, whose strongest edge the small cluster of the two follows
                   │                    ═  link: two halves of one supervoxel
     e ── f ── A   │     D ── c         A, D     large
                   │          ║         b, c, f  small, and unsure because of this face alone: its rim
               b ══╪══════════╝         e        small, and waiting for another face as well

The seam joins b, c and D, and f and A. D stays behind the face, so b *moves out* of the block before it and *moves in*
to D, which gets its voxels and its contacts. f stays where it is: it touches e, which another seam may move. Contacts
that are left between the two sides, as of A and D, become the table of the face.

What a seam decides is true of the whole run, see `small_supervoxels`; so the seams of a block agree, in whatever order
they are sewn. A cluster is moved only if nothing that it touches may go elsewhere.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from .block_graph import Share
from .contacts import Contacts, Int64s
from .octree_node import FaceTable, Ids
from .small_supervoxels import Bools, Faces, Joined, JoinRule, join_small, linked


@dataclass(frozen=True)
class Side:
    """Holds the part of a block's graph that a seam at one of its faces needs.

    Args:
        ids, sizes, unsure: of the clusters of its leaf, see `Leaf`.
        rim: rim of the face.
        face: the bit of the face.
    """

    ids: Ids
    sizes: Int64s
    unsure: Faces
    rim: Contacts
    face: int


@dataclass(frozen=True)
class Seam:
    """Holds the decisions of a seam: for the block before it, for the block behind it, and what stays between."""

    before: Share
    behind: Share
    face: FaceTable


def sew(before: Side, behind: Side, contacts: Contacts, links: Int64s, rule: JoinRule) -> Seam:
    """Lets the small clusters that the face between two blocks cuts join their neighbours.

    Args:
        before, behind: the two blocks.
        contacts: through the face: a by index in the block before, b in the block behind.
        links: (n, 2) clusters of both that are one, likewise.
        rule: rule for small clusters and the neighbours that they join.
    """
    first = len(before.ids)
    graph = Contacts.concatenate(
        [
            before.rim,
            replace(behind.rim, a=behind.rim.a + first, b=behind.rim.b + first),
            replace(contacts, b=contacts.b + first),
        ]
    )
    unsure = np.concatenate([before.unsure & ~np.uint8(before.face), behind.unsure & ~np.uint8(behind.face)])
    rim = np.concatenate([before.unsure == before.face, behind.unsure == behind.face])
    sizes = np.concatenate([before.sizes, behind.sizes])
    ids = np.concatenate([before.ids, behind.ids])

    # Contacts of a rim with what waits for another face: seen here, but left where they are.
    seen = np.arange(len(graph)) < len(before.rim) + len(behind.rim)
    seen &= (unsure[graph.a] | unsure[graph.b]) != 0
    fixed = ~rim
    fixed[graph.a[seen]] = True
    fixed[graph.b[seen]] = True

    cluster, joined = _join(graph, links[:, 0], links[:, 1] + first, sizes, unsure, rule)
    place = _places(cluster, joined.unsure[cluster] != 0, fixed, ids, first)
    kept = graph.select(~seen & ~joined.crumb[cluster[graph.a]] & ~joined.crumb[cluster[graph.b]])
    kept = kept.select(cluster[kept.a] != cluster[kept.b]).renamed(place)
    face = _face(kept, cluster, place, ids, first)
    sewn = _Sewn(place, ids, sizes, kept, first)
    return Seam(
        before=sewn.share(np.union1d(face.a, face.link_a), before=True),
        behind=sewn.share(np.union1d(face.b, face.link_b), before=False),
        face=face,
    )


def _join(
    graph: Contacts, one: Int64s, other: Int64s, sizes: Int64s, unsure: Faces, rule: JoinRule
) -> tuple[Int64s, Joined]:
    """The cluster of each node once links and small nodes are followed, and what is said of each cluster."""
    root = linked(one, other, len(sizes))
    total, faces = np.zeros_like(sizes), np.zeros_like(unsure)
    np.add.at(total, root, sizes)
    np.bitwise_or.at(faces, root, unsure)
    joined = join_small(replace(graph, a=root[graph.a], b=root[graph.b]), total, faces, rule)
    return joined.node[root], joined


def _places(cluster: Int64s, unsure: Bools, fixed: Bools, ids: Ids, first: int) -> Int64s:
    """The node that each node becomes part of: the first one of its cluster on its own side, or on the other side.

    A cluster stays on the sides where it has something fixed; with nothing fixed, on that of its smallest id, or, if it
    is unsure, on both.
    """
    n = len(cluster)
    side = np.arange(n) >= first
    stays = np.zeros((2, n), dtype=np.bool_)
    stays[side[fixed].astype(np.int64), cluster[fixed]] = True
    free = ~(stays[0] | stays[1])[cluster]
    least = np.full(n, np.iinfo(np.uint64).max, dtype=np.uint64)
    np.minimum.at(least, cluster[free], ids[free])
    owners = free & (unsure | (least[cluster] == ids))
    stays[side[owners].astype(np.int64), cluster[owners]] = True

    representative = np.full((2, n), -1, dtype=np.int64)
    backwards = np.arange(n)[::-1]
    representative[side[backwards].astype(np.int64), cluster[backwards]] = backwards
    where = np.where(stays[side.astype(np.int64), cluster], side, ~side).astype(np.int64)
    place: Int64s = representative[where, cluster]
    return place


def _face(kept: Contacts, cluster: Int64s, place: Int64s, ids: Ids, first: int) -> FaceTable:
    """Returns the graph left between the two blocks: contacts, and the clusters that are on both sides."""
    crossing = kept.select((kept.a < first) & (kept.b >= first))
    nodes = np.flatnonzero(place == np.arange(len(place)))
    before, behind = nodes[nodes < first], nodes[nodes >= first]
    of_cluster = np.full(len(ids), -1, dtype=np.int64)
    of_cluster[cluster[before]] = before
    behind = behind[of_cluster[cluster[behind]] >= 0]
    return FaceTable(
        a=ids[crossing.a],
        b=ids[crossing.b],
        sum=crossing.sum,
        count=crossing.count,
        best=crossing.best,
        histogram=crossing.histogram,
        link_a=ids[of_cluster[cluster[behind]]],
        link_b=ids[behind],
    )


@dataclass(frozen=True)
class _Sewn:
    """Holds the clusters of both blocks after the seam, those before the face first.

    Args:
        place: (n,) for each cluster the one that it is part of now, on its own side or the other.
        ids, sizes: (n,) of each.
        contacts: between clusters that others are part of.
        first: how many lie before the face.
    """

    place: Int64s
    ids: Ids
    sizes: Int64s
    contacts: Contacts
    first: int

    def share(self, ends: Ids, *, before: bool) -> Share:
        """Tells one of the two blocks what became of its clusters, by their index there."""
        place, nodes = self.place, np.arange(len(self.place))
        own = (nodes < self.first) == before
        here = (place < self.first) == before
        offset, offset_beyond = (0, self.first) if before else (self.first, 0)
        joined = np.flatnonzero(own & here & (place != nodes))
        moved_out, moved_in = np.flatnonzero(own & ~here), np.flatnonzero(~own & here)
        a, b = self.contacts.a, self.contacts.b
        inside = self.contacts.select(((a < self.first) == before) & ((b < self.first) == before))
        return Share(
            joined=joined - offset,
            into=place[joined] - offset,
            moved_out=moved_out - offset,
            moved_out_to=place[moved_out] - offset_beyond,
            moved_in=place[moved_in] - offset,
            moved_in_ids=self.ids[moved_in],
            moved_in_sizes=self.sizes[moved_in],
            contacts=replace(inside, a=inside.a - offset, b=inside.b - offset),
            ends=ends,
        )
