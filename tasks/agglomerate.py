"""One node of the octree, upwards: its children's residual graphs and the faces between them → what is decided now.

At level 0 a node is a block, and its graph that of the block's fragments once its seams are sewn.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from ..pipeline.agglomeration.block_graph import Placement, as_region
from ..pipeline.agglomeration.linkages import merge_by
from ..pipeline.agglomeration.octree_node import ALL_FACES, FaceTable, Region, decide, face_bit
from ..pipeline.agglomeration.rules import AgglomerationRule
from ..pipeline.agglomeration.small_supervoxels import JoinRule
from ..pipeline.geometry import Box, Octree, Triple
from . import block_tables
from .contract import Density, GridConfig, Outcome, Resources, at_level
from .outputs import Piece
from .work import Extent, Growth, Work, given_to_node

VERSION = 3
_TABLES = 20_000_000  # bytes that reading and writing tables take, however small
_POWER = "segments_2e"  # and the power of two: the name of a count of segments
_PASSED_UP = 4  # contacts, for each that crosses an open face: clusters that reach it touch one another inside, too


class Config(GridConfig, AgglomerationRule):
    """Configures the agglomeration of one node of the octree.

    Args:
    level: level of the node; its index counts nodes of this level.
    join_size, join_affinity: see `JoinRule`; thresholds are decimals.
    levels: levels of the contacts' histograms; 0 where the linkage needs none. All other keys: see `AgglomerationRule`.
    leaves: folder of the tables of supervoxels and faces: the run's own, or those of the run that it was cut from.
    tables: folder of the run's tables.
    """

    level: int
    join_size: int = 0
    join_affinity: str = "1"
    levels: int = 0
    leaves: str
    tables: str


def resources(config: Config, density: Density) -> Resources:
    """States what a node needs: a leaf its clusters and contacts, other nodes what comes up, by its open surface."""
    contact = 250 + 16 * config.levels
    if config.level == 0:
        voxels = Box.of_shape(config.block).voxels
        return Resources(memory=_TABLES + round(voxels * (density.joined * contact + density.clusters * 100)))
    surface = Octree(config.grid).most_surface_of_children(config.level)
    passed_up = _PASSED_UP * density.crossing * surface
    return Resources(memory=_TABLES + round(passed_up * (contact + 100)), grows_with="node")


def work(config: Config, extent: Extent, growth: Growth) -> Work:
    """Counts the contacts that a node is given, and merges."""
    return Work(extent.tasks(config.level), contacts=given_to_node(extent, config.level, growth))


def run(config: Config, index: Triple) -> Outcome:
    parts, placement = _given(config, index)
    given = sum(len(part.contacts) for part in parts)
    join = JoinRule.parse(config.join_size, config.join_affinity)
    decision = decide(parts, _faces(config, index), join, merge_by(config), config.dust_size)
    if placement is not None:
        decision = replace(decision, linked=np.concatenate([placement.pairs, decision.linked]))
    written = block_tables.write_decision(config.tables, config.level, index, decision, placement)
    counts = {
        "given_contacts": given,
        "merges": len(decision.merges),
        "segments": len(decision.segments),
        "dust": decision.dust,
        "residual_nodes": len(decision.residual.ids),
        "residual_contacts": len(decision.residual.contacts),
        "table_bytes": written.bytes,
    }
    return Outcome(counts=counts | _count_sizes(decision.segment_sizes.tolist()), checksum=written.checksum)


def _count_sizes(sizes: list[int]) -> dict[str, int]:
    """Counts the segments of each power of two of voxels, by the names that `segments_by_power` knows."""
    powers = Counter(size.bit_length() - 1 for size in sizes)
    return {f"{_POWER}{power}": count for power, count in powers.items()}


def segments_by_power(counts: Mapping[str, int]) -> dict[int, int]:
    """Returns for each power of two how many segments with as many voxels, or up to twice as many, were counted."""
    return {int(name.removeprefix(_POWER)): n for name, n in counts.items() if name.startswith(_POWER)}


def pieces(config: Config, index: Triple) -> tuple[Piece, ...]:
    return block_tables.pieces(config.tables, at_level("agglomerate", config.level), index)


def _given(config: Config, index: Triple) -> tuple[list[Region], Placement | None]:
    octree = Octree(config.grid)
    if config.level:
        return [_child(config, octree, index, child) for child in octree.children(config.level, index)], None
    region, placement = region_of_block(config.leaves, octree.grid.shape, index, config.levels)
    return [region], placement


def region_of_block(leaves: str, blocks: Triple, index: Triple, levels: int) -> tuple[Region, Placement]:
    """Returns the region of a block once its seams are sewn, from the tables of supervoxels and faces.

    Args:
        leaves: folder of these tables.
        blocks: number of blocks along each axis.
        index: index of the block.
        levels: levels of the contacts' histograms; 0 to leave them out.
    """
    shares = {}
    for axis in range(3):
        if index[axis] > 0:
            share = block_tables.read_share(leaves, index, axis, "behind", levels)
            shares[face_bit(axis, above=False)] = share
        z, y, x = (i + (k == axis) for k, i in enumerate(index))
        if (z, y, x)[axis] < blocks[axis]:
            share = block_tables.read_share(leaves, (z, y, x), axis, "before", levels)
            shares[face_bit(axis, above=True)] = share
    return as_region(block_tables.read_leaf(leaves, index, levels), shares)


def _faces(config: Config, index: Triple) -> list[FaceTable]:
    if config.level == 0:
        return []
    faces = Octree(config.grid).inner_faces(config.level, index)
    return [block_tables.read_face(config.leaves, block, axis, config.levels) for axis, block in faces]


def _child(config: Config, octree: Octree, index: Triple, child: Triple) -> Region:
    """A child's residual; its faces to other children of the same node are closed now."""
    still_open = ALL_FACES
    for axis, above in octree.siblings(config.level - 1, child):
        still_open &= ~face_bit(axis, above)
    return block_tables.read_residual(config.tables, config.level - 1, child, config.levels).with_faces(still_open)
