"""Affinities of a block → its supervoxel fragments, their contact graph, and the planes at its faces.

Needs the affinities of the block grown by one voxel. Writes the block of the fragments volume (uint32, dense in the
block) and one table: the fragments' ids, sizes and contacts, and for each axis the label plane of the first and last
layer with the affinities and picks of the edges through the first. The table does not depend on the merge rule, so
another threshold starts from here without reading a voxel.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ..pipeline.affinities.nearest import Channels, read_nearest
from ..pipeline.agglomeration.contacts import interior_contacts
from ..pipeline.agglomeration.regions import face_bit, leaf_region
from ..pipeline.geometry import BlockGrid, Box, Triple
from ..pipeline.segmentation.supervoxels import Fragments, halo_box, label_fragments
from ..pipeline.tables import Arrays
from ..pipeline.thresholds import Threshold
from ..pipeline.volumes import open_volume
from . import records
from .contract import Outcome, Resources, TaskConfig

VERSION = 2


class Config(TaskConfig):
    """Args:
    affinities: path of the affinities volume.
    order, signs: where z, y and x lie in it, see `Channels`.
    volume: shape of the volume, voxels z, y, x.
    block: shape of a block.
    low, high: decimals, see `label_fragments`.
    levels: of the contacts' histograms; 0 for none.
    fragments: path of the fragments volume, which exists.
    tables: folder of the run's tables.
    bytes_per_affinity: of the stored affinities, for the memory estimate.
    """

    affinities: str
    order: Triple = (0, 1, 2)
    signs: Triple = (1, 1, 1)
    volume: Triple
    block: Triple
    low: str
    high: str
    levels: int = 0
    fragments: str
    tables: str
    bytes_per_affinity: int = 1


def resources(config: Config) -> Resources:
    """Affinities as stored and as uint8 with their halo, labels, flags, and a table with a contact in 2 voxels."""
    voxels = Box.of_shape(config.block).voxels
    halo = Box.of_shape(config.block).grow((1, 1, 1)).voxels
    return Resources(memory=halo * (4 + config.bytes_per_affinity) + voxels * (4 + 1 + 48))


def run(config: Config, index: Triple) -> Outcome:
    volume = config.volume
    grid = BlockGrid(volume, config.block)
    block = grid.box(index)
    outer = halo_box(block, volume)
    source = open_volume(config.affinities)
    channels = Channels(config.order, config.signs)
    affinities = read_nearest(source.read, outer, volume, channels, source.path)
    low, high = Threshold.parse(config.low, "low"), Threshold.parse(config.high, "high")
    fragments = label_fragments(affinities, block, volume, low, high)
    inner = affinities[:, *block.slices(outer.start)]
    contacts = interior_contacts(fragments.labels, inner, block, volume, config.levels)
    region = leaf_region(
        fragments.ids, fragments.sizes.astype(np.int64), contacts, _faces_touched(fragments, block, grid)
    )
    open_volume(config.fragments, writable=True).write(block, fragments.labels)
    planes = _planes(fragments, inner, block, grid)
    written = records.write_block(config.tables, index, region, planes)
    return Outcome(
        voxels=block.voxels,
        counts={"fragments": len(fragments.ids), "contacts": len(contacts), "table_bytes": written},
    )


def _faces_touched(fragments: Fragments, block: Box, grid: BlockGrid) -> npt.NDArray[np.uint8]:
    """For each fragment the mask of the block's faces, other than faces of the volume, that it touches."""
    faces = np.zeros(len(fragments.ids) + 1, dtype=np.uint8)
    for axis in range(3):
        if block.start[axis] > 0:
            faces[np.unique(np.take(fragments.labels, 0, axis=axis))] |= face_bit(axis, above=False)
        if block.stop[axis] < grid.volume[axis]:
            faces[np.unique(np.take(fragments.labels, -1, axis=axis))] |= face_bit(axis, above=True)
    return faces[1:]


def _planes(fragments: Fragments, inner: npt.NDArray[np.uint8], block: Box, grid: BlockGrid) -> Arrays:
    planes: Arrays = {}
    for axis in range(3):
        if block.start[axis] > 0:
            planes[f"first{axis}"] = np.take(fragments.labels, 0, axis=axis).ravel()
            planes[f"affinity{axis}"] = np.take(inner[axis], 0, axis=axis).ravel()
            planes[f"picked{axis}"] = fragments.crossing[axis].ravel()
        if block.stop[axis] < grid.volume[axis]:
            planes[f"last{axis}"] = np.take(fragments.labels, -1, axis=axis).ravel()
    return planes
