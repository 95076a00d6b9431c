"""Affinities of a block → its supervoxel fragments, their contact graph, and the planes at its faces.

Needs the affinities of the block grown by one voxel. Small fragments join at once, as far as the block knows. Writes
the block of the fragments volume (uint32, dense in the block) and one table: the fragments' ids, sizes and contacts,
and for each axis the label plane of the first and last layer with the affinities and picks of the edges through the
first. The table does not depend on the merge rule, so another threshold starts from here without reading a voxel.
"""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field

from ..pipeline import checksums
from ..pipeline.affinities.masking import edges_inside
from ..pipeline.affinities.nearest import Channels, quantise, read_nearest
from ..pipeline.agglomeration.block_graph import grow_leaf
from ..pipeline.agglomeration.contacts import interior_contacts
from ..pipeline.agglomeration.octree_node import face_bit
from ..pipeline.agglomeration.small_supervoxels import JoinRule
from ..pipeline.geometry import BlockGrid, Box, Triple
from ..pipeline.segmentation.mutex import label_mutex_fragments
from ..pipeline.segmentation.relabel import relabel
from ..pipeline.segmentation.supervoxels import Fragments, halo_box, label_fragments
from ..pipeline.tables import Arrays
from ..pipeline.thresholds import Threshold
from ..pipeline.volumes import CACHE_BYTES, Volume, VolumeSource, open_volume, read_nearest_voxels, voxels_read
from . import block_tables
from .contract import Density, GridConfig, Outcome, Resources
from .outputs import Piece, VolumePart, write_part
from .work import Extent, Growth, Work

VERSION = 4


class Config(GridConfig):
    """Configures the supervoxels of a block.

    Args:
    affinities: the affinities volume.
    mask: a volume that covers it; edges to where it is 0 count as if their affinity were 0.
    order, signs: where z, y and x lie in it, see `Channels`.
    method: "watershed" by `label_fragments`, "mutex" by `label_mutex_fragments`.
    low, high: decimals, see there.
    long_range, offsets, strides: for "mutex": the long-range channels, the offset of each, see there.
    join_size, join_affinity: see `JoinRule`; a decimal.
    levels: levels of the contacts' histograms; 0 for none.
    fragments: path of the fragments volume, which exists.
    tables: folder of the run's tables.
    bytes_per_affinity: bytes of one value of the stored affinities, for the memory estimate.
    """

    affinities: VolumeSource
    mask: VolumeSource | None = Field(default=None, exclude_if=lambda mask: mask is None)
    order: Triple = (0, 1, 2)
    signs: Triple = (1, 1, 1)
    method: Literal["watershed", "mutex"] = "watershed"
    low: str
    high: str
    long_range: tuple[int, ...] = ()
    offsets: tuple[Triple, ...] = ()
    strides: Triple = (1, 4, 4)
    join_size: int = 0
    join_affinity: str = "1"
    levels: int = 0
    fragments: str
    tables: str
    bytes_per_affinity: int = 1


def resources(config: Config, density: Density) -> Resources:
    """States affinities as stored and as uint8 with their halo, labels, and contacts while they are put in columns.

    The mutex watershed sorts the edges of the whole block: measured, 32 bytes an edge and 7 a channel in each voxel.
    """
    voxels = Box.of_shape(config.block).voxels
    halo = Box.of_shape(config.block).grow((1, 1, 1)).voxels
    graph = density.fragments * 40 + density.contacts * (88 + 5 * config.levels)
    memory = CACHE_BYTES + round(halo * (3 + config.bytes_per_affinity) + voxels * (4 + graph))
    if config.mask is not None:
        mask = config.mask.open()
        # The mask as it is stored and over the block, and which affinities it leaves.
        stored = voxels_read(mask, config.affinities.open(), config.block) * np.dtype(mask.spec.dtype).itemsize
        memory += stored + 6 * halo
    if config.method == "mutex":
        far = len(config.long_range)
        edges = 3 + far / math.prod(config.strides)
        memory += round(voxels * (far + config.bytes_per_affinity + 7 * (3 + far) + 32 * edges))
    return Resources(memory=memory)


def work(_: Config, extent: Extent, growth: Growth) -> Work:
    """Counts voxels that are labelled, and contacts that are put in columns."""
    return Work(extent.tasks(), extent.voxels(), growth.contacts * extent.voxels())


def run(config: Config, index: Triple) -> Outcome:
    volume, grid = config.volume, config.grid
    block = grid.box(index)
    outer = halo_box(block, volume, config.region)
    source = config.affinities.open()
    affinities = _read(config, source, outer)
    fragments = _label(config, source, affinities, block)
    inner = affinities[:, *block.slices(outer.start)]
    contacts = interior_contacts(fragments.labels, inner, block, volume, config.levels)
    rule = JoinRule.parse(config.join_size, config.join_affinity)
    faces = _faces_touched(fragments, block, grid)
    leaf, cluster_of = grow_leaf(fragments.ids, fragments.sizes.astype(np.int64), contacts, faces, rule)
    found = {"fragments": len(fragments.ids), "contacts": len(contacts)}
    del contacts
    table = np.concatenate([[0], cluster_of + 1]).astype(np.uint32)
    labels = relabel(fragments.labels, table, out=fragments.labels)
    write_part(open_volume(config.fragments, writable=True), block, labels)
    checksum = checksums.of_array(labels)
    written = block_tables.write_leaf(config.tables, index, leaf, _planes(fragments, inner, block, grid), checksum)
    return Outcome(
        voxels=block.voxels,
        counts={**found, "clusters": len(leaf.ids), "table_bytes": written.bytes},
        checksum=checksums.packed([checksum, written.checksum]),
    )


def pieces(config: Config, index: Triple) -> tuple[Piece, ...]:
    return VolumePart(config.fragments, config.grid.box(index)), *block_tables.pieces(
        config.tables, "supervoxels", index
    )


def _read(config: Config, source: Volume, box: Box) -> npt.NDArray[np.uint8]:
    """The affinities of z, y and x over a box, as the mask leaves them."""
    wanted = None
    if config.mask is not None:
        mask = config.mask.open()
        wanted = edges_inside(lambda box: read_nearest_voxels(mask, source, box) != 0, box)
        if not wanted.any():
            return np.zeros(wanted.shape, np.uint8)
    channels = Channels(config.order, config.signs)
    affinities = read_nearest(source.read, box, config.volume, channels, source.path)
    return affinities if wanted is None else np.multiply(affinities, wanted, out=affinities)


def _label(config: Config, source: Volume, affinities: npt.NDArray[np.uint8], block: Box) -> Fragments:
    low, high = Threshold.parse(config.low, "low"), Threshold.parse(config.high, "high")
    if config.method == "watershed":
        return label_fragments(affinities, block, config.volume, low, high, config.region)
    name = f"{source.path}, box {block}"
    long_range = np.empty((len(config.long_range), *block.shape), dtype=np.uint8)
    for values, channel in zip(long_range, config.long_range, strict=True):
        values[:] = quantise(source.read(block, slice(channel, channel + 1))[0], name)
    return label_mutex_fragments(
        affinities, long_range, config.offsets, block, config.volume, low, high, config.strides, config.region
    )


def _faces_touched(fragments: Fragments, block: Box, grid: BlockGrid) -> npt.NDArray[np.uint8]:
    """For each fragment the mask of the faces to other blocks that it touches."""
    faces = np.zeros(len(fragments.ids) + 1, dtype=np.uint8)
    for axis in range(3):
        if block.start[axis] > grid.covered.start[axis]:
            faces[np.unique(np.take(fragments.labels, 0, axis=axis))] |= face_bit(axis, above=False)
        if block.stop[axis] < grid.covered.stop[axis]:
            faces[np.unique(np.take(fragments.labels, -1, axis=axis))] |= face_bit(axis, above=True)
    return faces[1:]


def _planes(fragments: Fragments, inner: npt.NDArray[np.uint8], block: Box, grid: BlockGrid) -> Arrays:
    planes: Arrays = {}
    for axis in range(3):
        if block.start[axis] > grid.covered.start[axis]:
            planes[f"first{axis}"] = np.take(fragments.labels, 0, axis=axis).ravel()
            planes[f"affinity{axis}"] = np.take(inner[axis], 0, axis=axis).ravel()
            planes[f"picked{axis}"] = fragments.crossing[axis].ravel()
        if block.stop[axis] < grid.covered.stop[axis]:
            planes[f"last{axis}"] = np.take(fragments.labels, -1, axis=axis).ravel()
    return planes
