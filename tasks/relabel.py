"""Fragments of a block and the segment of each → the block of the segmentation."""

from __future__ import annotations

import numpy as np

from ..pipeline import checksums
from ..pipeline.errors import TableError
from ..pipeline.geometry import Octree, Triple
from ..pipeline.segmentation.relabel import relabel
from ..pipeline.volumes import CACHE_BYTES, open_volume
from . import block_tables
from .assign import segments_of_leaf
from .contract import Density, GridConfig, Outcome, Resources
from .outputs import Piece, VolumePart, write_part
from .work import Extent, Growth, Work

VERSION = 3


class Config(GridConfig):
    """Configures the writing of a block of the segmentation.

    Args:
    fragments: path of the fragments volume.
    segmentation: path of the segmentation volume, which exists.
    leaves: folder of the tables of supervoxels: the run's own, or those of the run that it was cut from.
    tables: folder of the run's tables.
    """

    fragments: str
    segmentation: str
    leaves: str
    tables: str


def resources(config: Config, density: Density) -> Resources:
    """States fragments (4 bytes a voxel), segments (8), their chunks while they are encoded (8), and the table."""
    z, y, x = config.block
    return Resources(memory=CACHE_BYTES + round(z * y * x * (4 + 8 + 8 + density.clusters * 60)))


def work(_: Config, extent: Extent, growth: Growth) -> Work:
    """Counts voxels, looked up in a table whose size goes by the contacts between the blocks' clusters."""
    return Work(extent.tasks(), extent.voxels(), growth.joined * extent.voxels())


def run(config: Config, index: Triple) -> Outcome:
    grid = config.grid
    block = grid.box(index)
    fragments = open_volume(config.fragments).read(block)
    # A chunk that has gone reads as background.
    if checksums.of_array(fragments) != block_tables.read_checksum_of_labels(config.leaves, index):
        raise TableError(
            f"Supervoxels are relabelled as they were written; box {block} of {config.fragments} holds others: a chunk"
            " is missing or damaged. `petavox audit RUN --repair` makes it again."
        )
    segments = segments_of_leaf(config.tables, Octree(grid), index)
    table = np.concatenate([np.zeros(1, dtype=np.uint64), segments])
    segmentation = relabel(fragments, table)
    write_part(open_volume(config.segmentation, writable=True), block, segmentation)
    return Outcome(voxels=block.voxels, checksum=checksums.of_array(segmentation))


def pieces(config: Config, index: Triple) -> tuple[Piece, ...]:
    return (VolumePart(config.segmentation, config.grid.box(index)),)
