"""Agglomeration up the octree: what a region decides, and what it passes up because it cannot decide it yet.

1. `decide` joins the regions below it through the tables of the faces between them, follows links (edges of infinite
   score), lets small supervoxels join their neighbours, merges what is closed now, and splits the clusters into final
   ones and a residual region for the next level.
2. `look_up` goes the other way: from the final ids of a region to those of the clusters that it had been given.

A cluster is open while one of its fragments touches a face of the region that is not a face of the volume. A closed
cluster without an eligible contact is final. The residual therefore grows with a region's surface.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from ..errors import TableError
from .contacts import Contacts, Int64s
from .greedy_merging import Bools, Merges
from .small_supervoxels import Faces, JoinRule, join_small, linked

Ids = npt.NDArray[np.uint64]
Merge = Callable[[Contacts, Int64s, Bools, Bools], Merges]
"""Merges what can be merged in a graph, given as contacts, sizes, which nodes are open, and which of these must not
grow here: `merge_closed` with its rule, or another solver."""
ALL_FACES = 0b111111


def face_bit(axis: int, above: bool) -> int:
    """Returns the bit of one of a block's six faces in a fragment's mask of faces that it touches."""
    return 1 << (2 * axis + above)


@dataclass(frozen=True)
class Region:
    """Holds the undecided part of a region's contact graph.

    Args:
        ids: (n,) clusters by their smallest fragment id, increasing.
        names: (n,) the supervoxel that stands for each cluster in merges, see `Merges`.
        sizes: (n,) int64 voxels of each cluster that lie in the region.
        contacts: between clusters, by their index in `ids`.
        fragments: (m,) ids, increasing, of the supervoxel fragments with contacts or links through an open face.
        clusters: (m,) int64 the cluster of each of these, by its index in `ids`.
        faces: (m,) uint8 the open faces of each of these, see `face_bit`.
    """

    ids: Ids
    names: Ids
    sizes: Int64s
    contacts: Contacts
    fragments: Ids
    clusters: Int64s
    faces: Faces

    def with_faces(self, still_open: int) -> Region:
        """Returns a region of which only the faces in a mask are open."""
        return replace(self, faces=self.faces & np.uint8(still_open))

    def open_faces(self) -> Faces:
        """Returns for each cluster the open faces that it touches."""
        touched = np.zeros(len(self.ids), dtype=np.uint8)
        np.bitwise_or.at(touched, self.clusters, self.faces)
        return touched


@dataclass(frozen=True)
class FaceTable:
    """Holds the graph between two blocks, by fragment ids: contacts (a before the face, b behind it) and links."""

    a: Ids
    b: Ids
    sum: Int64s
    count: Int64s
    best: Int64s
    histogram: npt.NDArray[np.uint32]
    link_a: Ids
    link_b: Ids


@dataclass(frozen=True)
class Decision:
    """Holds everything that a region decided, and the undecided rest that it passes up.

    Args:
        given: the clusters it was given, by id, increasing.
        target: the id of the cluster that each of these is in now; if that is final, the segment's id, or 0 for dust.
        final: whether that cluster is final.
        residual: undecided rest that is passed up.
        linked: (k, 2) supervoxels whose clusters were joined by links or because they were small, each with the
            smallest one.
        merges: (k, 2) supervoxels, the smaller id first, see `Merges`: those with a score of s or more join the
            supervoxels, after `linked`, to what the run gives at s.
        merge_score, merge_scale: of each merge; score / scale is in grey levels.
        segments, segment_sizes: the final clusters that are not dust.
        dust: number of final clusters that are dust.
    """

    given: Ids
    target: Ids
    final: Bools
    residual: Region
    linked: npt.NDArray[np.uint64]
    merges: npt.NDArray[np.uint64]
    merge_score: Int64s
    merge_scale: Int64s
    segments: Ids
    segment_sizes: Int64s
    dust: int


def decide(
    parts: Sequence[Region], faces: Sequence[FaceTable], join: JoinRule, merge: Merge, dust_size: int = 0
) -> Decision:
    """Decide all that the union of some regions allows.

    Args:
        parts: the regions below, with only those faces open that stay open.
        faces: the tables of all faces between blocks that lie between two of the parts.
        join: rule for small supervoxels, which join a neighbour at once.
        merge: merges what is closed.
        dust_size: a final segment with fewer voxels becomes background.

    Raises:
        TableError: a face names a fragment that no part knows.
        TaskError: a limit of the tables is passed, see `merge_closed`.
    """
    graph = _side_by_side(parts)
    given, node_of = replace(graph, contacts=Contacts.empty()), np.arange(len(graph.ids))
    if faces:
        first = _follow_links(given, faces)
        between = [_face_contacts(given, face) for face in faces]
        del faces
        graph = replace(graph, contacts=Contacts.concatenate([graph.contacts, *between]))
        del between
        graph, node_of = _contract(graph, first)
    joined = join_small(graph.contacts, graph.sizes, graph.open_faces(), join)
    graph = replace(graph, contacts=graph.contacts.select(~joined.gone(graph.contacts)))
    if len(joined.roots) < len(joined.node):
        graph, joined_of = _contract(graph, joined.node)
        node_of = joined_of[node_of]
    unsure, waiting = joined.unsure[joined.roots] != 0, joined.waiting[joined.roots]
    open_nodes = (graph.open_faces() != 0) | waiting
    return _conclude(given, graph, node_of, merge(graph.contacts, graph.sizes, open_nodes, unsure), dust_size)


def _conclude(given: Region, graph: Region, node_of: Int64s, merges: Merges, dust_size: int) -> Decision:
    """The decision about the clusters given, from the graph of what is linked and joined among them, and its merges."""
    sizes = np.zeros_like(graph.sizes)
    np.add.at(sizes, merges.node, graph.sizes)
    final_root = (merges.node == np.arange(len(sizes))) & ~merges.undecided
    dust = final_root & (sizes < dust_size)
    target = graph.ids[merges.node]
    target[dust[merges.node]] = 0
    kept = np.flatnonzero(final_root & ~dust)
    names = graph.names[node_of]
    joined = np.flatnonzero(names != given.names)
    return Decision(
        given=given.ids,
        target=target[node_of],
        final=~merges.undecided[node_of],
        residual=_residual(graph, merges, sizes),
        linked=np.stack([given.names[joined], names[joined]], axis=1),
        merges=np.sort(np.stack([graph.names[merges.a], graph.names[merges.b]], axis=1), axis=1),
        merge_score=merges.score,
        merge_scale=merges.scale,
        segments=graph.ids[kept],
        segment_sizes=sizes[kept],
        dust=int(dust.sum()),
    )


def look_up(wanted: Ids, known: Ids, values: Ids) -> Ids:
    """Returns the values of some ids in a table sorted by id.

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
        np.concatenate([part.names for part in parts])[order],
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
    a = np.concatenate([_cluster_of(region, face.link_a) for face in faces])
    b = np.concatenate([_cluster_of(region, face.link_b) for face in faces])
    return linked(a, b, len(region.ids))


def _face_contacts(region: Region, face: FaceTable) -> Contacts:
    a, b = _cluster_of(region, face.a), _cluster_of(region, face.b)
    return Contacts(a, b, face.sum, face.count, face.best, face.histogram)


def _contract(region: Region, node: Int64s) -> tuple[Region, Int64s]:
    """The region with nodes that have the same `node`, the smallest of them, made one; and each node's new number."""
    is_root = node == np.arange(len(node))
    roots, node_of = np.flatnonzero(is_root), (np.cumsum(is_root) - 1)[node]
    sizes = np.zeros(len(roots), dtype=np.int64)
    np.add.at(sizes, node_of, region.sizes)
    names = np.full(len(roots), np.iinfo(np.uint64).max, dtype=np.uint64)
    np.minimum.at(names, node_of, region.names)
    contracted = replace(
        region,
        ids=region.ids[roots],
        names=names,
        sizes=sizes,
        contacts=region.contacts.renamed(node_of),
        clusters=node_of[region.clusters],
    )
    return contracted, node_of


def _residual(graph: Region, merges: Merges, sizes: Int64s) -> Region:
    node, undecided = merges.node, merges.undecided
    roots = np.flatnonzero(undecided & (node == np.arange(len(node))))
    rank = np.full(len(node), -1, dtype=np.int64)
    rank[roots] = np.arange(len(roots))
    a, b = graph.contacts.a, graph.contacts.b
    kept = graph.contacts.select(undecided[a] & undecided[b] & (node[a] != node[b]))
    reaching = np.flatnonzero(graph.faces)
    return Region(
        graph.ids[roots],
        graph.names[merges.name[roots]],
        sizes[roots],
        kept.renamed(rank[node]),
        graph.fragments[reaching],
        rank[node[graph.clusters[reaching]]],
        graph.faces[reaching],
    )
