"""Small supervoxels join the neighbour behind their strongest voxel edge, before contacts are scored.

Size-dependent single linkage (Zlateski and Seung, "Image segmentation by size-dependent single linkage clustering of a
watershed basin graph", 2015): voxel edges between clusters are followed from the strongest down, under the strict order
(affinity, canonical edge id); an edge joins two clusters if one of them is small at that moment.

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

from ..thresholds import MAXIMUM, Threshold
from .contacts import Contacts, Int64s

Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class JoinRule:
    """Which supervoxels join a neighbour at once.

    Args:
        size: clusters with fewer voxels are small; 0 means that none is.
        affinity: edges that pass this are followed.
    """

    size: int = 0
    affinity: Threshold = MAXIMUM


@dataclass(frozen=True)
class Joined:
    """What became of the nodes of a graph.

    Args:
        node: for each node the smallest node of its cluster.
        unsure: for each node, whether its cluster is small and may still join another one.
        waiting: for each node, whether an unsure cluster may still join its own, or its own is unsure.
    """

    node: Int64s
    unsure: Bools
    waiting: Bools


def join_small(contacts: Contacts, sizes: Int64s, is_open: Bools, rule: JoinRule) -> Joined:
    """Do every joining of the whole run that is decided already by what is known here.

    Args:
        contacts: between nodes 0…n − 1, each pair once.
        sizes: (n,) voxels of each node, of an open one those known.
        is_open: (n,) whether a node reaches beyond what is known.
        rule: which clusters are small and which edges count.
    """
    small = sizes < rule.size
    strong = contacts.best_affinity >= rule.affinity.least_affinity
    followed = np.flatnonzero(strong & (small[contacts.a] | small[contacts.b]))
    followed = followed[np.argsort(contacts.best[followed])[::-1]]
    unsure = small & is_open
    node, waiting = _join(contacts.a[followed], contacts.b[followed], sizes.copy(), unsure, rule.size)
    return Joined(node, unsure[node], waiting[node])


@njit(nogil=True, cache=True)
def find_root(parent, i):  # type: ignore[no-untyped-def]
    while parent[i] != i:
        parent[i] = parent[parent[i]]
        i = parent[i]
    return i


@njit(nogil=True, cache=True)
def _join(a, b, sizes, unsure, least):  # type: ignore[no-untyped-def]
    """Follow the edges in their order; `unsure` is brought up to date. Returns roots, and which roots wait."""
    parent = np.arange(sizes.size)
    for e in range(a.size):
        u, v = find_root(parent, a[e]), find_root(parent, b[e])
        if u == v or min(sizes[u], sizes[v]) >= least:
            continue
        if not unsure[u] and not unsure[v]:
            u, v = min(u, v), max(u, v)
            parent[v] = u
            sizes[u] += sizes[v]
        else:
            unsure[u] |= sizes[u] < least
            unsure[v] |= sizes[v] < least
    waiting = np.zeros(sizes.size, dtype=np.bool_)
    for e in range(a.size):
        u, v = find_root(parent, a[e]), find_root(parent, b[e])
        if u != v and (unsure[u] or unsure[v]):
            waiting[u] = True
            waiting[v] = True
    for i in range(sizes.size):
        parent[i] = find_root(parent, i)
    waiting |= unsure
    return parent, waiting
