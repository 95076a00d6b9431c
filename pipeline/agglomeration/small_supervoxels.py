"""Small supervoxels join the neighbour behind their strongest voxel edge, before contacts are scored.

Size-dependent single linkage (Zlateski and Seung, "Image segmentation by size-dependent single linkage clustering of a
watershed basin graph", 2015): voxel edges between clusters are followed from the strongest down, under the strict order
(affinity, canonical edge id); an edge joins two clusters if one of them is small at that moment. A cluster that is
still small when no edge is left to follow is a *crumb*; it stays by itself.

Part of a volume: a small cluster that is open, or whose strongest edge leads to such a one, is *unsure* and stays. A
small cluster that is sure joins a large neighbour whatever else becomes of that one, for the strongest edge of a
cluster does not change when others join. So being unsure hardly spreads, and no noise between two large segments has
to wait until the volume around both is known.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from numba import njit

from ..thresholds import MAXIMUM, Decimals, Threshold
from ..union_find import find_root
from .contacts import Contacts, Int64s
from .pair_table import EDGE_BITS

Bools = npt.NDArray[np.bool_]
Faces = npt.NDArray[np.uint8]
"""For each of some clusters a mask of faces of a region, see `octree_node.face_bit`."""


@dataclass(frozen=True)
class JoinRule:
    """Says which supervoxels join a neighbour at once.

    Args:
        size: clusters with fewer voxels are small; 0 means that none is.
        affinity: edges that pass this are followed.
    """

    size: int = 0
    affinity: Threshold = MAXIMUM

    @classmethod
    def parse(cls, join_size: int, join_affinity: Decimals) -> JoinRule:
        """Makes a rule from the values of a recipe's or a config's two keys.

        Raises:
            RequestError: the affinity is no decimal in [0, 1].
        """
        return cls(join_size, Threshold.parse(join_affinity, "join_affinity"))


@dataclass(frozen=True)
class Joined:
    """Says which cluster each node of a graph has joined; every entry of a node holds for its whole cluster.

    Args:
        node: for each node the smallest node of its cluster.
        unsure: (n,) uint8: 0, or the faces beyond which lies what a small cluster will join, or grow by.
        waiting: (n,) whether it is undecided of an edge to another cluster, as one of the two is unsure.
        crumb: (n,) whether the cluster is small for good.
    """

    node: Int64s
    unsure: Faces
    waiting: Bools
    crumb: Bools

    @property
    def roots(self) -> Int64s:
        """Returns the nodes that their clusters are named by, increasing."""
        return np.flatnonzero(self.node == np.arange(len(self.node)))

    def gone(self, contacts: Contacts) -> Bools:
        """Marks the contacts of the same graph that lie inside a cluster, or belong to a crumb."""
        gone: Bools = self.crumb[contacts.a] | self.crumb[contacts.b]
        gone |= self.node[contacts.a] == self.node[contacts.b]
        return gone


def join_small(contacts: Contacts, sizes: Int64s, faces: Faces, rule: JoinRule) -> Joined:
    """Do every joining of the whole run that is decided already by what is known here.

    Args:
        contacts: between nodes 0…n − 1.
        sizes: (n,) voxels of each node, of an open one those known.
        faces: (n,) uint8 the faces through which a node reaches beyond what is known; 0 where it does not.
        rule: size below which clusters are small, and affinity from which edges count.
    """
    small = sizes < rule.size
    followed = _followed(contacts.a, contacts.b, contacts.best, small, rule.affinity.least_affinity << EDGE_BITS)
    followed = followed[np.argsort(contacts.best[followed])[::-1]]
    unsure = np.where(small, faces, np.uint8(0))
    totals = sizes.copy()
    node, waiting = _join(contacts.a[followed], contacts.b[followed], totals, unsure, rule.size)
    crumb = (totals < rule.size) & (unsure == 0)
    return Joined(node, unsure[node], waiting[node], crumb[node])


def linked(a: Int64s, b: Int64s, nodes: int) -> Int64s:
    """Returns for each node 0…n − 1 the smallest one that it is linked to, over any number of the links a – b."""
    roots: Int64s = _linked(a, b, nodes)
    return roots


@njit(nogil=True, cache=True)
def _linked(a, b, nodes):  # type: ignore[no-untyped-def]
    parent = np.arange(nodes)
    for i in range(a.size):
        u, v = find_root(parent, a[i]), find_root(parent, b[i])
        parent[max(u, v)] = min(u, v)
    for i in range(nodes):
        parent[i] = find_root(parent, i)
    return parent


@njit(nogil=True, cache=True)
def _followed(a, b, best, small, least):  # type: ignore[no-untyped-def]
    """The numbers of the contacts of small nodes that are strong enough."""
    found = np.empty(a.size, dtype=np.int32)
    n = 0
    for e in range(a.size):
        found[n] = e
        n += (best[e] >= least) & (small[a[e]] | small[b[e]])
    return found[:n].copy()


@njit(nogil=True, cache=True)
def _join(a, b, sizes, unsure, least):  # type: ignore[no-untyped-def]
    """Follow the edges in order; sizes and `unsure` are brought up to date. Returns roots, and which roots wait."""
    parent = np.arange(sizes.size)
    for e in range(a.size):
        u, v = find_root(parent, a[e]), find_root(parent, b[e])
        if u == v or min(sizes[u], sizes[v]) >= least:
            continue
        if unsure[u] == 0 and unsure[v] == 0:
            u, v = min(u, v), max(u, v)
            parent[v] = u
            sizes[u] += sizes[v]
        elif unsure[u] == 0 and sizes[u] < least:
            unsure[u] = unsure[v]
        elif unsure[v] == 0 and sizes[v] < least:
            unsure[v] = unsure[u]
    waiting = np.zeros(sizes.size, dtype=np.bool_)
    for e in range(a.size):
        u, v = find_root(parent, a[e]), find_root(parent, b[e])
        if u != v and (unsure[u] or unsure[v]):
            waiting[u] = True
            waiting[v] = True
    for i in range(sizes.size):
        parent[i] = find_root(parent, i)
    return parent, waiting
