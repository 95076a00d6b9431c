"""Counts the voxels that a network computes for blocks of some shape: a patch that touches two is computed twice."""

from __future__ import annotations

import math

from ...pipeline.geometry import BlockGrid, Triple, triple
from ...pipeline.networks.patch_grid import Axis, Patches
from ...pipeline.volumes import CHUNK_TARGET
from ...tasks.work import AllTasks, LargestTask, patches_in_blocks

NEAR = 1.5
"""A block is near another one where no edge of it is more than so many times as long or as short."""


def computed(grid: BlockGrid, patches: Patches, largest: bool) -> int:
    """Counts voxels of the patches that blocks compute: of all blocks, or of the block that computes most."""
    return (LargestTask(grid) if largest else AllTasks(grid)).patch_voxels(patches)


def computed_a_voxel(grid: BlockGrid, patches: Patches) -> float:
    """Counts the voxels that are computed for each voxel that blocks cover."""
    return computed(grid, patches, largest=False) / grid.covered.voxels


def frugal_block(grid: BlockGrid, patches: Patches) -> Triple:
    """Finds the block shape that computes least, among shapes of whole usual chunks near the grid's own."""
    ends = zip(grid.covered.start, grid.covered.stop, strict=True)
    axes = zip(patches.over(grid.volume).axes, ends, grid.block, CHUNK_TARGET, strict=True)
    return triple([_frugal(axis, *end, block, chunk) for axis, end, block, chunk in axes])


def _frugal(axis: Axis, start: int, stop: int, block: int, chunk: int) -> int:
    """A length that computes least; of several, the nearest to the one that is asked for."""
    if block >= stop:
        return block
    first, last = math.ceil(block / NEAR / chunk), math.floor(block * NEAR / chunk)
    lengths = [block, *(n * chunk for n in range(max(1, first), last + 1))]
    return min(lengths, key=lambda length: (sum(patches_in_blocks(axis, start, stop, length)), abs(length - block)))
