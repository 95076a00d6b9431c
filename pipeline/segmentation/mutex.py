"""Fragments of one block by the mutex watershed, where a network also judged voxels that lie further apart.

The mutex watershed (Wolf et al. 2019, The Mutex Watershed and its Objective) goes through all edges from the most
certain to the least: a nearest-neighbour edge joins its two ends unless that is forbidden, a long-range edge of low
affinity forbids to join them. Fragments are what is joined then over nearest-neighbour edges of at least `low`.

A block is labelled alone and from its own edges, so that, unlike those of `label_fragments`, these supervoxels depend
on the blocks. For given blocks they are the same in any order of work. Fragments of two blocks are linked through every
voxel edge that passes `high`: a rule that sees one affinity, on which the two blocks cannot differ.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from ..errors import AffinityError, RequestError
from ..geometry import Box, Triple
from ..thresholds import Threshold
from .supervoxels import FOREGROUND, Fragments, fragments_of, halo_box

_NEAREST = ((1, 0, 0), (0, 1, 0), (0, 0, 1))


def label_mutex_fragments(
    affinities: npt.NDArray[np.uint8],
    long_range: npt.NDArray[np.uint8],
    offsets: Sequence[Triple],
    block: Box,
    volume: Triple,
    low: Threshold,
    high: Threshold,
    strides: Triple = (1, 4, 4),
    region: Box | None = None,
) -> Fragments:
    """Label the fragments of one block by the mutex watershed.

    Args:
        affinities: (3, Z, Y, X) uint8 over `halo_box(block, volume, region)`; channel c at p is the edge between p and
            the voxel before it along axis c.
        long_range: (C, Z, Y, X) uint8 over the block; channel c at p is the edge between p and p − offsets[c]. Edges
            that leave the block are not used.
        offsets: offsets of the long-range channels, voxels z, y, x.
        block: the block, in voxels of the volume.
        volume: shape of the volume.
        low: edges below this join nothing; a voxel whose every edge is below it is background.
        high: edges through a face of the block that pass this are picked.
        strides: long-range edges are used at every so many voxels along each axis.
        region: the part of the volume that is segmented, as if there were nothing around it; all unless given.

    Raises:
        AffinityError: an array does not fit the block, or there are no long-range channels.
        RequestError: low is above high, a stride is below 1, or the block has 2³¹ voxels or more.
    """
    outer = halo_box(block, volume, region)
    _check(affinities, long_range, offsets, block, outer)
    if low > high:
        raise RequestError(f"low must not exceed high; found low = {low}, high = {high}.")
    if min(strides) < 1:
        raise RequestError(f"Strides must be at least 1; found {strides}.")
    if block.voxels >= 2**31:
        raise RequestError(f"A block must have fewer than 2**31 voxels; {block} has {block.voxels}.")
    inner = affinities[:, *block.slices(outer.start)]
    foreground = _foreground(affinities, outer, low.least_affinity)[block.slices(outer.start)]
    clusters = _mutex_watershed(inner, long_range, offsets, strides, foreground)
    picked = foreground * np.uint8(FOREGROUND)
    for axis in range(3):
        later, earlier = _slices(axis, slice(1, None)), _slices(axis, slice(None, -1))
        joined = (clusters[later] == clusters[earlier]) & foreground[later]
        joined &= inner[(axis, *later)] >= low.least_affinity
        picked[later] |= joined * np.uint8(1 << axis)
        if block.start[axis] > outer.start[axis]:
            face = _slices(axis, slice(0, 1))
            picked[face] |= (inner[(axis, *face)] >= high.least_affinity) * np.uint8(1 << axis)
    return fragments_of(picked, block, volume)


def _check(
    affinities: npt.NDArray[np.uint8],
    long_range: npt.NDArray[np.uint8],
    offsets: Sequence[Triple],
    block: Box,
    outer: Box,
) -> None:
    if not offsets:
        raise AffinityError("The mutex watershed needs long-range affinity channels; there are only the nearest three.")
    for name, array, shape in (
        ("affinities", affinities, (3, *outer.shape)),
        ("long-range affinities", long_range, (len(offsets), *block.shape)),
    ):
        if array.dtype != np.uint8 or array.shape != shape:
            raise AffinityError(
                f"Supervoxels of block {block} need uint8 {name} of shape {shape}; found {array.dtype} {array.shape}."
            )


def _slices(axis: int, along: slice) -> tuple[slice, slice, slice]:
    z, y, x = (along if i == axis else slice(None) for i in range(3))
    return z, y, x


def _foreground(affinities: npt.NDArray[np.uint8], outer: Box, low: int) -> npt.NDArray[np.bool_]:
    """Marks the voxels that have an edge of at least `low`; right for all voxels but the halo."""
    found = np.zeros(outer.shape, dtype=np.bool_)
    for axis in range(3):
        later, earlier = _slices(axis, slice(1, None)), _slices(axis, slice(None, -1))
        strong = affinities[(axis, *later)] >= low
        found[later] |= strong
        found[earlier] |= strong
    return found


def _mutex_watershed(
    inner: npt.NDArray[np.uint8],
    long_range: npt.NDArray[np.uint8],
    offsets: Sequence[Triple],
    strides: Triple,
    foreground: npt.NDArray[np.bool_],
) -> npt.NDArray[np.uint64]:
    """Cluster of each voxel of a block, 0 for background."""
    from bioimage_cpp.segmentation import mutex_watershed

    weights = np.empty((3 + len(offsets), *foreground.shape), dtype=np.float32)
    weights[:3] = inner
    np.subtract(255, long_range, out=weights[3:], casting="unsafe")  # how much an edge forbids
    backwards = [tuple(-step for step in offset) for offset in (*_NEAREST, *offsets)]  # the other end is at p + these
    clusters: npt.NDArray[np.uint64] = mutex_watershed(weights, backwards, 3, strides=strides, mask=foreground)
    return clusters
