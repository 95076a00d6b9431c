"""Finds the edges that decide whether two voxels end up in one object, and how many pairs of voxels each decides.

Two voxels are joined at the threshold of their maximin edge: the weakest edge of the strongest path between them. All
maximin edges lie in the maximum spanning tree. One wrong edge may merge two objects; weighed by the pairs that it
decides, it counts for as much as the mistake that it makes.

Turaga, Briggman, Helmstaedter, Denk, Seung 2009, "Maximin affinity learning of image segmentation", arXiv 0911.5372.
In two passes, as in Funke et al. 2018, "Large scale image segmentation with structured loss", arXiv 1709.02974: pairs
within an object are joined inside that object alone, and pairs of two objects once each object is whole.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from numba import njit

from ..union_find import find_root

NONE = -1
FINEST = 2**16 - 1
"""Affinities are compared in so many steps from 0 to 1."""


def pairs_decided(
    affinities: npt.NDArray[np.floating], targets: npt.NDArray[np.uint8], labels: npt.NDArray[np.integer]
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Returns the share of pairs that each edge decides.

    Args:
        affinities: (3, Z, Y, X), from 0 to 1, between a voxel and the one before it along z, y, x.
        targets: uint8 of the same shape: 1 within an object, 0 across a border or in background; other edges are not
            used.
        labels: (Z, Y, X) objects, 0 or below for voxels that make no pairs.

    Returns:
        float32 of the shape of the affinities: the share of the pairs of one object that an edge joins, and the share
        of the pairs of two objects. Each adds up to 1, or 0 where there is no such pair that edges join. Of equal
        affinities, in 65,535 steps, the first edge in memory decides.
    """
    levels = np.rint((1 - affinities) * FINEST).astype(np.uint16)
    order = np.argsort(levels, axis=None, kind="stable")  # a radix sort, ten times as fast as one of float32
    flat = np.ascontiguousarray(targets).ravel()
    names = np.where(labels > 0, labels, NONE).astype(np.int64)
    shape = np.array(labels.shape, np.int64)
    within, between = _count(order, flat, names.ravel(), shape)
    return (_shares(within).reshape(affinities.shape), _shares(between).reshape(affinities.shape))


def _shares(counts: npt.NDArray[np.float64]) -> npt.NDArray[np.float32]:
    shares: npt.NDArray[np.float32] = (counts / max(1.0, counts.sum())).astype(np.float32)
    return shares


@njit(nogil=True, cache=True)
def _count(
    order: npt.NDArray[np.int64],
    targets: npt.NDArray[np.uint8],
    names: npt.NDArray[np.int64],
    shape: npt.NDArray[np.int64],
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    voxels = names.size
    strides = (shape[1] * shape[2], shape[2], 1)
    parent = np.arange(voxels)
    sizes = np.zeros(voxels)
    # The objects in a set, as a chain of entries; an entry is called by one of its object's voxels.
    following = np.full(voxels, NONE)
    last = np.arange(voxels)
    for voxel in range(voxels):
        sizes[voxel] = 1.0 if names[voxel] != NONE else 0.0
    counts = sizes.copy()
    within, between = np.zeros(order.size), np.zeros(order.size)

    for edge in order:  # within objects, each of which keeps one entry a set
        if targets[edge] == 1:
            voxel = edge % voxels
            a, b = find_root(parent, voxel), find_root(parent, voxel - strides[edge // voxels])
            if a != b:
                within[edge] = counts[a] * counts[b]
                a, b = (a, b) if counts[a] >= counts[b] else (b, a)
                parent[b] = a
                counts[a] += counts[b]
    for voxel in range(voxels):
        sizes[voxel] = counts[voxel]

    for edge in order:
        if targets[edge] == 0:
            channel, voxel = edge // voxels, edge % voxels
            a, b = find_root(parent, voxel), find_root(parent, voxel - strides[channel])
            if a == b:
                continue
            a, b = (a, b) if sizes[a] >= sizes[b] else (b, a)
            parent[b] = a
            if sizes[b] > 0:
                same = _take_over(a, b, names, counts, following, last)
                between[edge] = sizes[a] * sizes[b] - same
                sizes[a] += sizes[b]
    return within, between


@njit(nogil=True, cache=True)
def _take_over(
    a: int,
    b: int,
    names: npt.NDArray[np.int64],
    counts: npt.NDArray[np.float64],
    following: npt.NDArray[np.int64],
    last: npt.NDArray[np.int64],
) -> float:
    """Adds the entries of set b to those of set a, an object's to its own where a has it already.

    Returns:
        How many pairs of voxels of one object there are, one in either set.
    """
    pairs = 0.0
    entry = b
    while entry != NONE:
        after = following[entry]
        own = a
        while own != NONE and names[own] != names[entry]:
            own = following[own]
        if own != NONE:
            pairs += counts[own] * counts[entry]
            counts[own] += counts[entry]
        else:
            following[last[a]] = entry
            following[entry] = NONE
            last[a] = entry
        entry = after
    return pairs
