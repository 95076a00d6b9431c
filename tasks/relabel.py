"""Fragments of a block and the segment of each → the block of the segmentation."""

from __future__ import annotations

import numpy as np

from ..pipeline import checksums
from ..pipeline.geometry import BlockGrid, Octree, Triple
from ..pipeline.segmentation.relabel import relabel
from ..pipeline.volumes import CACHE_BYTES, open_volume
from .assign import segments_of_leaf
from .contract import Density, Outcome, Resources, TaskConfig
from .pieces import Part, Piece

VERSION = 2


class Config(TaskConfig):
    """Args:
    volume: shape of the volume.
    block: shape of a block.
    fragments: path of the fragments volume.
    segmentation: path of the segmentation volume, which exists.
    tables: folder of the run's tables.
    """

    volume: Triple
    block: Triple
    fragments: str
    segmentation: str
    tables: str


def resources(config: Config, density: Density) -> Resources:
    """Fragments (4 bytes a voxel), segments (8), their chunks while they are encoded (8), and the table."""
    z, y, x = config.block
    return Resources(memory=CACHE_BYTES + round(z * y * x * (4 + 8 + 8 + density.clusters * 60)))


def run(config: Config, index: Triple) -> Outcome:
    grid = BlockGrid(config.volume, config.block)
    block = grid.box(index)
    fragments = open_volume(config.fragments).read(block)
    segments = segments_of_leaf(config.tables, Octree(grid), index)
    table = np.concatenate([np.zeros(1, dtype=np.uint64), segments])
    segmentation = relabel(fragments, table)
    open_volume(config.segmentation, writable=True).write(block, segmentation)
    return Outcome(voxels=block.voxels, checksum=checksums.of_array(segmentation))


def pieces(config: Config, index: Triple) -> tuple[Piece, ...]:
    return (Part(config.segmentation, BlockGrid(config.volume, config.block).box(index)),)
