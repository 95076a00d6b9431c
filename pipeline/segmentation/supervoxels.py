"""Supervoxels of one block: the first Borůvka round over voxel edges, decided with one voxel of halo.

1. `_choose`: each voxel's best incident edge under the strict total order (affinity, canonical edge id).
2. `_pick`: an edge is picked if either end chose it, or if its affinity is at least `high`.
3. `_join`: union-find over the picked edges inside the block; the root of a set is its smallest voxel.
4. `_number`: dense labels in the order of the roots, which is the order of their canonical ids.

Whether an edge is picked depends only on the edges at its two ends, so neighbouring blocks agree on it: what crosses a
face becomes a link between a fragment here and one there. A supervoxel is a set of linked fragments.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from numba import njit

from ..errors import AffinityError, RequestError
from ..geometry import Box, Triple
from ..thresholds import Threshold
from ..union_find import find_root

# What a voxel chose: 0 nothing, 1 + c its own edge of channel c, 6 − c that of its neighbour above along axis c.
# In this order canonical edge ids rise, so that "at least as good as the best so far" takes the largest id of a tie.
FOREGROUND = 8  # beside one bit a channel in the flags of `_pick`


@dataclass(frozen=True)
class Fragments:
    """Holds the part of a volume's supervoxels that lies in one block.

    Args:
        labels: (Z, Y, X) uint32, 0 for background, else 1…n dense in the block.
        ids: (n,) uint64, for each label 1 + the smallest linear index, in the volume, of its voxels; increasing.
        sizes: (n,) uint64, voxels of each label.
        crossing: for each axis, which voxel edges through the block's lower face are picked: bool arrays with the shape
            of that face; all False on a face of the volume, or of the region that is segmented.
    """

    labels: npt.NDArray[np.uint32]
    ids: npt.NDArray[np.uint64]
    sizes: npt.NDArray[np.uint64]
    crossing: tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_], npt.NDArray[np.bool_]]


def halo_box(block: Box, volume: Triple, region: Box | None = None) -> Box:
    """Returns the affinities that labelling a block needs.

    There is one voxel more on every side that is not a face of the volume, or of the region that is segmented.
    """
    return block.grow((1, 1, 1)).intersect(region or Box.of_shape(volume))


def label_fragments(
    affinities: npt.NDArray[np.uint8],
    block: Box,
    volume: Triple,
    low: Threshold,
    high: Threshold,
    region: Box | None = None,
) -> Fragments:
    """Label the supervoxel fragments of one block.

    Args:
        affinities: (3, Z, Y, X) uint8 over `halo_box(block, volume, region)`; channel c at p is the edge between p and
            the voxel before it along axis c.
        block: the block, in voxels of the volume.
        volume: shape of the volume.
        low: a voxel whose every edge is below this is background.
        high: every edge that passes this is picked.
        region: the part of the volume that is segmented, as if there were nothing around it; all unless given.

    Raises:
        AffinityError: the array does not fit the block.
        RequestError: low is above high, or the block has 2³¹ voxels or more.
    """
    outer = halo_box(block, volume, region)
    if affinities.dtype != np.uint8 or affinities.shape != (3, *outer.shape):
        raise AffinityError(
            f"Supervoxels of block {block} need uint8 affinities of shape {(3, *outer.shape)}; "
            f"found {affinities.dtype} {affinities.shape}."
        )
    if low > high:
        raise RequestError(f"low must not exceed high; found low = {low}, high = {high}.")
    if block.voxels >= 2**31:
        raise RequestError(f"A block must have fewer than 2**31 voxels; {block} has {block.voxels}.")
    lead = np.array([b - o for b, o in zip(block.start, outer.start, strict=True)], dtype=np.int64)
    choice = np.empty(lead + block.shape, dtype=np.uint8)
    first = (0, 0, 0) if region is None else region.start
    inside = np.array([start > end for start, end in zip(outer.start, first, strict=True)])
    _choose(affinities, inside, low.least_affinity, choice)
    picked = np.empty(block.shape, dtype=np.uint8)
    _pick(affinities, choice, lead, high.least_affinity, picked)
    del choice
    return fragments_of(picked, block, volume)


def fragments_of(picked: npt.NDArray[np.uint8], block: Box, volume: Triple) -> Fragments:
    """Returns the components of picked voxel edges in a block.

    Args:
        picked: (Z, Y, X) uint8 over the block: bit c where the edge of channel c is picked, `FOREGROUND` where the
            voxel is none of the background. Edges through the lower faces of the block end up in `crossing`.
        block: the block, in voxels of the volume.
        volume: shape of the volume.
    """
    labels = np.empty(block.shape, dtype=np.uint32)
    _join(picked, labels.reshape(-1))
    count = _number(picked.reshape(-1), labels.reshape(-1))
    roots = np.empty(count, dtype=np.int64)
    sizes = np.empty(count, dtype=np.int64)
    _measure(labels.reshape(-1), roots, sizes)
    ids = linear_indices(roots, block, volume) + np.uint64(1)
    crossing = tuple(np.take(picked, 0, axis=axis) & np.uint8(1 << axis) != 0 for axis in range(3))
    return Fragments(labels, ids, sizes.astype(np.uint64), (crossing[0], crossing[1], crossing[2]))


def linear_indices(inside: npt.NDArray[np.int64], block: Box, volume: Triple) -> npt.NDArray[np.uint64]:
    """Returns linear indices in the volume of voxels given by their linear indices in a block."""
    _, ny, nx = block.shape
    z = inside // (ny * nx) + block.start[0]
    y = inside // nx % ny + block.start[1]
    x = inside % nx + block.start[2]
    return ((z * volume[1] + y) * volume[2] + x).astype(np.uint64)


@njit(nogil=True, cache=True)
def _choose_row(own_z, own_y, own_x, above_y, above_z, low, choice):  # type: ignore[no-untyped-def]
    """Choose for voxels 1…n − 2 of a row whose edges all exist. All are bytes, so that it becomes vector code."""
    for x in range(1, choice.size - 1):
        best = low
        code = np.uint8(0)
        if own_z[x] >= best:
            best = own_z[x]
            code = np.uint8(1)
        if own_y[x] >= best:
            best = own_y[x]
            code = np.uint8(2)
        if own_x[x] >= best:
            best = own_x[x]
            code = np.uint8(3)
        if own_x[x + 1] >= best:
            best = own_x[x + 1]
            code = np.uint8(4)
        if above_y[x] >= best:
            best = above_y[x]
            code = np.uint8(5)
        if above_z[x] >= best:
            code = np.uint8(6)
        choice[x] = code


@njit(nogil=True, cache=True)
def _choose_voxel(affinities, inside, low, z, y, x):  # type: ignore[no-untyped-def]
    """Choose for one voxel, some of whose edges may not exist."""
    depth, height, width = affinities.shape[1:]
    best = np.int64(low)
    code = 0
    if (z > 0 or inside[0]) and affinities[0, z, y, x] >= best:
        best = affinities[0, z, y, x]
        code = 1
    if (y > 0 or inside[1]) and affinities[1, z, y, x] >= best:
        best = affinities[1, z, y, x]
        code = 2
    if (x > 0 or inside[2]) and affinities[2, z, y, x] >= best:
        best = affinities[2, z, y, x]
        code = 3
    if x + 1 < width and affinities[2, z, y, x + 1] >= best:
        best = affinities[2, z, y, x + 1]
        code = 4
    if y + 1 < height and affinities[1, z, y + 1, x] >= best:
        best = affinities[1, z, y + 1, x]
        code = 5
    if z + 1 < depth and affinities[0, z + 1, y, x] >= best:
        code = 6
    return code


@njit(nogil=True, cache=True)
def _choose(affinities, inside, low, choice):  # type: ignore[no-untyped-def]
    depth, height = affinities.shape[1:3]
    nz, ny, nx = choice.shape
    low = np.uint8(low)
    # Where the array starts on a face of what is segmented, the edges through that face do not exist.
    for z in range(nz):
        for y in range(ny):
            if 0 < z < depth - 1 and 0 < y < height - 1:
                rows = affinities[:, z, y]
                above_y, above_z = affinities[1, z, y + 1], affinities[0, z + 1, y]
                _choose_row(rows[0], rows[1], rows[2], above_y, above_z, low, choice[z, y])
                choice[z, y, 0] = _choose_voxel(affinities, inside, low, z, y, 0)
                choice[z, y, nx - 1] = _choose_voxel(affinities, inside, low, z, y, nx - 1)
            else:
                for x in range(nx):
                    choice[z, y, x] = _choose_voxel(affinities, inside, low, z, y, x)


@njit(nogil=True, cache=True)
def _pick_row(values, own, other, channel, high, flags):  # type: ignore[no-untyped-def]
    bit, mine, theirs = np.uint8(1 << channel), np.uint8(channel + 1), np.uint8(6 - channel)
    for x in range(values.size):
        picked = (values[x] >= high) | (own[x] == mine) | (other[x] == theirs)
        flags[x] |= bit if picked else np.uint8(0)


@njit(nogil=True, cache=True)
def _pick(affinities, choice, lead, high, picked):  # type: ignore[no-untyped-def]
    nz, ny, nx = picked.shape
    lz, ly, lx = lead  # 0 only on a face of what is segmented, whose edges do not exist
    high = np.uint8(high)
    for z in range(nz):
        for y in range(ny):
            rows = affinities[:, z + lz, y + ly]
            own = choice[z + lz, y + ly, lx:]
            flags = picked[z, y]
            for x in range(nx):
                flags[x] = np.uint8(FOREGROUND) if own[x] else np.uint8(0)
            if z + lz > 0:
                _pick_row(rows[0, lx : lx + nx], own, choice[z + lz - 1, y + ly, lx:], 0, high, flags)
            if y + ly > 0:
                _pick_row(rows[1, lx : lx + nx], own, choice[z + lz, y + ly - 1, lx:], 1, high, flags)
            start = 1 - lx
            _pick_row(rows[2, lx + start : lx + nx], own[start:], choice[z + lz, y + ly], 2, high, flags[start:])


@njit(nogil=True, cache=True)
def _unite(parent, root, i):  # type: ignore[no-untyped-def]
    """Join the set of `root` with that of i; the smaller root survives and is returned."""
    other = find_root(parent, i)
    if other < root:
        parent[root] = other
        return other
    parent[other] = root
    return root


@njit(nogil=True, cache=True)
def _join(picked, parent):  # type: ignore[no-untyped-def]
    nz, ny, nx = picked.shape
    plane = ny * nx
    for z in range(nz):
        for y in range(ny):
            base = (z * ny + y) * nx
            root = base
            for x in range(nx):
                p = base + x
                flags = picked[z, y, x]
                along = x > 0 and flags & 4 != 0
                if not along:
                    root = p
                    parent[p] = p
                before = picked[z, y, x - 1] if along else 0
                if flags & 2 and y > 0:
                    below = picked[z, y - 1, x]
                    # A square whose other three edges are picked is joined already.
                    if not (before & 2 and below & 4):
                        root = _unite(parent, find_root(parent, root), p - nx)
                if flags & 1 and z > 0:
                    below = picked[z - 1, y, x]
                    known = before & 1 and below & 4
                    if not known and flags & 2 and y > 0:
                        known = picked[z, y - 1, x] & 1 and below & 2
                    if not known:
                        root = _unite(parent, find_root(parent, root), p - plane)
                parent[p] = root


@njit(nogil=True, cache=True)
def _number(picked, labels):  # type: ignore[no-untyped-def]
    """Turn parents into dense labels in place: a parent is never behind its child, so one pass is enough."""
    count = 0
    for p in range(labels.size):
        parent = labels[p]
        if parent != p:
            labels[p] = labels[parent]
        elif picked[p]:
            count += 1
            labels[p] = count
        else:
            labels[p] = 0
    return count


@njit(nogil=True, cache=True)
def _measure(labels, roots, sizes):  # type: ignore[no-untyped-def]
    seen = 0
    sizes[:] = 0
    for p in range(labels.size):
        label = labels[p]
        if label:
            if label > seen:
                roots[seen] = p
                seen = label
            sizes[label - 1] += 1
