"""The leaves of the octree: the contact graph of one block, between seams.

1. `grow_leaf`: from the fragments of a block and their contacts, once small ones have joined as far as the block knows.
2. `as_region`: the same graph with what the seams at the block's faces have decided, ready for the octree.

A small cluster that the block is unsure of because of one face alone is part of the *rim* of this face, with all its
contacts: that is what a seam needs of the block. What is not in a rim is the *core*.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .contacts import Contacts, Int64s
from .octree_node import Ids, Region
from .small_supervoxels import Faces, JoinRule, join_small, linked

FACES = tuple(1 << face for face in range(6))


@dataclass(frozen=True)
class Leaf:
    """Holds the graph of one block.

    Args:
        ids: (n,) clusters by their smallest voxel in the block, see `label_fragments`, increasing.
        sizes: (n,) int64 voxels of each.
        unsure: (n,) uint8 0, or the faces beyond which lies what a small cluster will join or grow by.
        core: the contacts between clusters, by their index, that are in no rim, and those between clusters that are
            unsure because of different faces.
        rims: for each face, by its bit, all contacts of its rim; none where nothing touches it.
    """

    ids: Ids
    sizes: Int64s
    unsure: Faces
    core: Contacts
    rims: Mapping[int, Contacts]


def grow_leaf(ids: Ids, sizes: Int64s, contacts: Contacts, faces: Faces, rule: JoinRule) -> tuple[Leaf, Int64s]:
    """Returns the graph of a block whose small supervoxels have joined as far as the block knows.

    Args:
        ids: (m,) of the fragments in the block, increasing.
        sizes: (m,) voxels of each.
        contacts: between fragments, by their index in `ids`.
        faces: (m,) uint8 the faces of the block, other than faces of the volume, that each touches.
        rule: rule for small clusters and the neighbours that they join.

    Returns:
        The leaf, and for each fragment its cluster's index in the leaf.
    """
    joined = join_small(contacts, sizes, faces, rule)
    roots = joined.roots
    rank = np.empty(len(ids), dtype=np.int64)
    rank[roots] = np.arange(len(roots))
    cluster_of = rank[joined.node]
    total = np.zeros(len(roots), dtype=np.int64)
    np.add.at(total, cluster_of, sizes)
    unsure = joined.unsure[roots]
    core, rims = _split(contacts.renamed(cluster_of, joined.gone(contacts)), unsure)
    return Leaf(ids[roots], total, unsure, core, rims), cluster_of


def _split(contacts: Contacts, unsure: Faces) -> tuple[Contacts, dict[int, Contacts]]:
    """Splits contacts into the core and the rims.

    A contact between clusters that wait for different faces is in the core and in both rims: each seam has to see it,
    and neither may move it.
    """
    rim = np.where(np.isin(unsure, FACES), unsure, np.uint8(0))
    a, b = rim[contacts.a], rim[contacts.b]
    apart = ((a != 0) & (unsure[contacts.b] & ~a != 0)) | ((b != 0) & (unsure[contacts.a] & ~b != 0))
    rims = {face: contacts.select((a == face) | (b == face)) for face in FACES}
    return contacts.select((a | b == 0) | apart), rims


@dataclass(frozen=True)
class Share:
    """Holds the decisions of a seam for the block at one of its sides; `seams` has a drawing.

    Clusters are given by their index in the leaf.

    Args:
        joined, into: pairs of clusters that are one.
        moved_out, moved_out_to: clusters that belong to one on the other side now, and that one's index in the leaf
            there.
        moved_in, moved_in_ids, moved_in_sizes: clusters that took in some of the other side; ids and voxels of these.
        contacts: contacts of the rim, as far as they are between clusters of the block now.
        ends: (m,) ids of the clusters that have contacts or links through the face, increasing.
    """

    joined: Int64s
    into: Int64s
    moved_out: Int64s
    moved_out_to: Int64s
    moved_in: Int64s
    moved_in_ids: Ids
    moved_in_sizes: Int64s
    contacts: Contacts
    ends: Ids


@dataclass(frozen=True)
class Placement:
    """Says where each cluster of a leaf is once the seams of its block are sewn.

    Args:
        place: (n,) int32 index of the cluster's node in the region; of the k-th that moved out, −1 − k.
        moved_face: bit of the face through which each cluster moved out.
        moved_to: index of each cluster that moved out, in the leaf beyond that face.
        pairs: (m, 2) ids of clusters that became one, each with the id of the region's node.
    """

    place: npt.NDArray[np.int32]
    moved_face: Faces
    moved_to: npt.NDArray[np.int32]
    pairs: npt.NDArray[np.uint64]


def as_region(leaf: Leaf, shares: Mapping[int, Share]) -> tuple[Region, Placement]:
    """Makes the region of one block, after all its seams.

    1. Clusters that seams have joined are one node, if they have not moved out.
    2. A node's id is the smallest of its clusters', with those that moved in; nodes are in the order of their ids.
    3. Voxels and contacts are added up.

    Args:
        leaf: leaf of the block.
        shares: by the bit of the face, for every face of the block that is not one of the volume.
    """
    n, found = len(leaf.ids), list(shares.values())
    node = linked(_concatenated([share.joined for share in found]), _concatenated([share.into for share in found]), n)
    moved_out = _concatenated([share.moved_out for share in found])
    stays = np.ones(n, dtype=np.bool_)
    stays[moved_out] = False
    roots = np.flatnonzero((node == np.arange(n)) & stays)
    moved_in = node[_concatenated([share.moved_in for share in found])]
    moved_in_ids = np.concatenate([leaf.ids[:0], *(share.moved_in_ids for share in found)])

    least = leaf.ids.copy()
    np.minimum.at(least, moved_in, moved_in_ids)
    order = roots[np.argsort(least[roots])]
    place = np.full(n, -1, dtype=np.int32)
    place[order] = np.arange(len(order), dtype=np.int32)
    place = place[node]
    place[moved_out] = -1 - np.arange(len(moved_out), dtype=np.int32)

    sizes = np.zeros(len(order), dtype=np.int64)
    np.add.at(sizes, place[stays], leaf.sizes[stays])
    np.add.at(sizes, place[moved_in], _concatenated([share.moved_in_sizes for share in found]))
    contacts = Contacts.concatenate([leaf.core, *(share.contacts for share in found)]).renamed(place.astype(np.int64))
    fragments, faces = _ends(shares)
    ids = least[order]
    region = Region(
        ids=ids,
        names=ids,
        sizes=sizes,
        contacts=contacts,
        fragments=fragments,
        clusters=place[np.searchsorted(leaf.ids, fragments)].astype(np.int64),
        faces=faces,
    )

    became = np.concatenate([leaf.ids[stays], moved_in_ids])
    node_ids = ids[np.concatenate([place[stays], place[moved_in]])]
    through = np.array(list(shares), dtype=np.uint8)
    return region, Placement(
        place=place,
        moved_face=np.repeat(through, [len(share.moved_out) for share in found]),
        moved_to=_concatenated([share.moved_out_to for share in found]).astype(np.int32),
        pairs=np.stack([became, node_ids], axis=1)[became != node_ids],
    )


def _concatenated(parts: list[Int64s]) -> Int64s:
    return np.concatenate([np.empty(0, dtype=np.int64), *parts])


def _ends(shares: Mapping[int, Share]) -> tuple[Ids, Faces]:
    """The ids of all clusters with contacts or links through a face, increasing, and the faces of each."""
    found = np.concatenate([np.empty(0, dtype=np.uint64), *(share.ends for share in shares.values())])
    bits = np.repeat(np.array(list(shares), dtype=np.uint8), [len(share.ends) for share in shares.values()])
    ids, number = np.unique(found, return_inverse=True)
    faces = np.zeros(len(ids), dtype=np.uint8)
    np.bitwise_or.at(faces, number, bits)
    return ids, faces
