"""Agglomeration up the octree: what a region decides, and what it passes up because it cannot decide it yet.

1. `decide` joins the regions below it through the tables of the faces between them, follows links (edges of infinite
   score), merges what is closed now, and splits the clusters into final ones and a residual region for the next level.
2. `look_up` goes the other way: from the final ids of a region to those of the clusters that it had been given.

A cluster is open while one of its fragments touches a face of the region that is not a face of the volume. A closed
cluster without an eligible contact is final. The residual therefore grows with a region's surface.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from ..errors import TableError
from .contacts import Contacts, Int64s
from .linkage import MergeRule, merge_closed

Ids = npt.NDArray[np.uint64]
ALL_FACES = 0b111111


def face_bit(axis: int, above: bool) -> int:
    """The bit of one of a block's six faces in a fragment's mask of faces that it touches."""
    return 1 << (2 * axis + above)


@dataclass(frozen=True)
class Region:
    """The undecided part of a region's contact graph.

    Args:
        ids: (n,) clusters by their smallest fragment id, increasing.
        sizes: (n,) int64 voxels of each cluster that lie in the region.
        contacts: between clusters, by their index in `ids`.
        fragments: (m,) ids, increasing, of the fragments that touch an open face.
        clusters: (m,) int64 the cluster of each of these, by its index in `ids`.
        faces: (m,) uint8 the open faces that each of these touches, see `face_bit`.
    """

    ids: Ids
    sizes: Int64s
    contacts: Contacts
    fragments: Ids
    clusters: Int64s
    faces: npt.NDArray[np.uint8]

    def with_faces(self, still_open: int) -> Region:
        """The same region with only the faces in a mask open."""
        return replace(self, faces=self.faces & np.uint8(still_open))

    def is_open(self) -> npt.NDArray[np.bool_]:
        """Which clusters touch an open face."""
        reaching = np.zeros(len(self.ids), dtype=np.bool_)
        reaching[self.clusters[self.faces != 0]] = True
        return reaching


@dataclass(frozen=True)
class FaceTable:
    """What lies between two blocks, by fragment ids: contacts (a before the face, b behind it) and links."""

    a: Ids
    b: Ids
    sum: Int64s
    count: Int64s
    first: Int64s
    link_a: Ids
    link_b: Ids


@dataclass(frozen=True)
class Decision:
    """What a region decided.

    Args:
        given: the clusters it was given, by id, increasing.
        target: the id of the cluster that each of these is in now; if that is final, the segment's id, or 0 for dust.
        final: whether that cluster is final.
        residual: what is passed up.
        linked: (k, 2) clusters joined by links: each with the smallest one that it is linked to.
        merges: (k, 2) clusters joined by merges, smaller id first, in an order that respects dependence.
        merge_sum, merge_count: the contact over which each merge went.
        segments, segment_sizes: the final clusters that are not dust.
        dust: how many final clusters are dust.
    """

    given: Ids
    target: Ids
    final: npt.NDArray[np.bool_]
    residual: Region
    linked: npt.NDArray[np.uint64]
    merges: npt.NDArray[np.uint64]
    merge_sum: Int64s
    merge_count: Int64s
    segments: Ids
    segment_sizes: Int64s
    dust: int


def leaf_region(ids: Ids, sizes: Int64s, contacts: Contacts, faces: npt.NDArray[np.uint8]) -> Region:
    """The region of one block, from its fragments and the open faces that each of them touches."""
    touching = np.flatnonzero(faces)
    return Region(ids, sizes, contacts, ids[touching], touching.astype(np.int64), faces[touching])


def decide(parts: Sequence[Region], faces: Sequence[FaceTable], rule: MergeRule, dust_size: int = 0) -> Decision:
    """Decide all that the union of some regions allows.

    Args:
        parts: the regions below, with only those faces open that stay open.
        faces: the tables of all faces between blocks that lie between two of the parts.
        rule: when two segments become one.
        dust_size: a final segment with fewer voxels becomes background.

    Raises:
        TableError: a face names a fragment that no part knows.
    """
    whole = _side_by_side(parts)
    node = _follow_links(whole, faces)
    roots, node_of = np.unique(node, return_inverse=True)
    sizes = np.zeros(len(roots), dtype=np.int64)
    np.add.at(sizes, node_of, whole.sizes)
    contacts = whole.contacts
    if faces:
        between = [_face_contacts(whole, face) for face in faces]
        contacts = Contacts.concatenate([contacts, *between]).renamed(node_of)
    linked = replace(
        whole, ids=whole.ids[roots], sizes=sizes, contacts=contacts, clusters=node_of[whole.clusters].astype(np.int64)
    )
    merges = merge_closed(contacts, sizes, linked.is_open(), rule)

    cluster_sizes = np.zeros_like(sizes)
    np.add.at(cluster_sizes, merges.node, sizes)
    is_root = merges.node == np.arange(len(sizes))
    final_root = is_root & ~merges.undecided
    dust = final_root & (cluster_sizes < dust_size)
    target = linked.ids[merges.node]
    target[dust[merges.node]] = 0
    kept = np.flatnonzero(final_root & ~dust)
    joined = np.flatnonzero(roots[node_of] != np.arange(len(whole.ids)))
    return Decision(
        given=whole.ids,
        target=target[node_of],
        final=~merges.undecided[node_of],
        residual=_residual(linked, merges.node, merges.undecided, cluster_sizes),
        linked=np.stack([whole.ids[joined], whole.ids[roots[node_of[joined]]]], axis=1),
        merges=np.stack([linked.ids[merges.a], linked.ids[merges.b]], axis=1),
        merge_sum=merges.sum,
        merge_count=merges.count,
        segments=linked.ids[kept],
        segment_sizes=cluster_sizes[kept],
        dust=int(dust.sum()),
    )


def look_up(wanted: Ids, known: Ids, values: Ids) -> Ids:
    """The values of some ids in a table sorted by id.

    Raises:
        TableError: an id is not in the table.
    """
    place = _find(known, wanted)
    return values[place]


def _find(known: Ids, wanted: Ids) -> Int64s:
    place = np.searchsorted(known, wanted)
    if len(wanted) and (not len(known) or (known[np.minimum(place, len(known) - 1)] != wanted).any()):
        raise TableError(
            f"Tables of neighbouring blocks do not belong together: {len(wanted)} ids were looked up among "
            f"{len(known)} and some are missing. They come from different runs; run the stages before this one again."
        )
    return place.astype(np.int64)


def _side_by_side(parts: Sequence[Region]) -> Region:
    """Some regions as one, clusters and fragments sorted by id, nothing joined yet."""
    if len(parts) == 1:
        return parts[0]
    ids = np.concatenate([part.ids for part in parts])
    order = np.argsort(ids)
    rank = np.empty(len(ids), dtype=np.int64)
    rank[order] = np.arange(len(ids))
    starts = np.cumsum([0, *(len(part.ids) for part in parts)])
    contacts = [
        replace(part.contacts, a=rank[part.contacts.a + start], b=rank[part.contacts.b + start])
        for part, start in zip(parts, starts, strict=False)
    ]
    clusters = np.concatenate([rank[part.clusters + start] for part, start in zip(parts, starts, strict=False)])
    fragments = np.concatenate([part.fragments for part in parts])
    by_fragment = np.argsort(fragments)
    return Region(
        ids[order],
        np.concatenate([part.sizes for part in parts])[order],
        Contacts.concatenate(contacts),
        fragments[by_fragment],
        clusters[by_fragment],
        np.concatenate([part.faces for part in parts])[by_fragment],
    )


def _cluster_of(region: Region, fragments: Ids) -> Int64s:
    clusters: Int64s = region.clusters[_find(region.fragments, fragments)]
    return clusters


def _follow_links(region: Region, faces: Sequence[FaceTable]) -> Int64s:
    """For each cluster the first one (that is, with the smallest id) that it is linked to."""
    n = len(region.ids)
    a = [_cluster_of(region, face.link_a) for face in faces]
    b = [_cluster_of(region, face.link_b) for face in faces]
    if not a:
        return np.arange(n)
    rows, columns = np.concatenate(a), np.concatenate(b)
    graph = coo_array((np.ones(len(rows), dtype=np.int8), (rows, columns)), shape=(n, n))
    _, component = connected_components(graph, directed=False)
    _, smallest = np.unique(component, return_index=True)
    first: Int64s = smallest[component].astype(np.int64)
    return first


def _face_contacts(region: Region, face: FaceTable) -> Contacts:
    return Contacts(_cluster_of(region, face.a), _cluster_of(region, face.b), face.sum, face.count, face.first)


def _residual(linked: Region, node: Int64s, undecided: npt.NDArray[np.bool_], sizes: Int64s) -> Region:
    roots = np.flatnonzero(undecided & (node == np.arange(len(node))))
    rank = np.full(len(node), -1, dtype=np.int64)
    rank[roots] = np.arange(len(roots))
    a, b = linked.contacts.a, linked.contacts.b
    contacts = linked.contacts.select(undecided[a] & undecided[b] & (node[a] != node[b])).renamed(node)
    reaching = np.flatnonzero(linked.faces)
    return Region(
        linked.ids[roots],
        sizes[roots],
        replace(contacts, a=rank[contacts.a], b=rank[contacts.b]),
        linked.fragments[reaching],
        rank[node[linked.clusters[reaching]]],
        linked.faces[reaching],
    )
