"""One node of the octree, downwards: the final segment of every cluster that the node had been given."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from ..pipeline.agglomeration.contacts import Int64s
from ..pipeline.agglomeration.octree_node import Ids, look_up
from ..pipeline.geometry import Octree, Triple
from . import block_tables
from .contract import Density, GridConfig, Outcome, Resources, at_level
from .outputs import Piece
from .work import Extent, Growth, Work, given_to_node

VERSION = 1
_GIVEN = 100  # bytes, for each contact that crosses an open face of a child: its cluster, target and segment, looked up
_KNOWN = 40  # likewise in the parent's table, where these are looked up


class Config(GridConfig):
    """Configures the assignment of final segments to the clusters of one node of the octree.

    Args:
    level: level of the node, at least 1.
    tables: folder of the run's tables.
    """

    level: int
    tables: str


def resources(config: Config, density: Density) -> Resources:
    """Returns a node holds ids and segments of what its children, and those of its parent, pass up."""
    octree = Octree(config.grid)
    surface = _GIVEN * octree.most_surface_of_children(config.level)
    if config.level < octree.height:
        surface += _KNOWN * octree.most_surface_of_children(config.level + 1)
    return Resources(memory=round(surface * density.crossing), grows_with="block" if config.level == 0 else "node")


def work(config: Config, extent: Extent, growth: Growth) -> Work:
    """Counts the clusters of a node: as many as the contacts that it had been given, up to a factor."""
    return Work(extent.tasks(config.level), contacts=given_to_node(extent, config.level, growth))


def run(config: Config, index: Triple) -> Outcome:
    given, segments = segments_of(config.tables, Octree(config.grid), config.level, index)
    written = block_tables.write_assignment(config.tables, config.level, index, given, segments)
    return Outcome(counts={"table_bytes": written.bytes}, checksum=written.checksum)


def pieces(config: Config, index: Triple) -> tuple[Piece, ...]:
    return block_tables.pieces(config.tables, at_level("assign", config.level), index)


def segments_of(tables: str, octree: Octree, level: int, index: Triple) -> tuple[Ids, Ids]:
    """Finds the segment of every cluster that a node had been given: known here, or found in the parent's table."""
    node = block_tables.read_targets(tables, level, index)
    segments = node.target.copy()
    if level < octree.height:
        known, values = block_tables.read_assignment(tables, level + 1, octree.parent(level, index))
        passed_up = ~node.final
        segments[passed_up] = look_up(node.target[passed_up], known, values)
    return node.given, segments


def segments_of_leaf(tables: str, octree: Octree, index: Triple) -> Ids:
    """Returns the segment of every cluster of a block's leaf."""
    homes = list(homes_of_leaf(tables, index))
    segments = np.empty(sum(len(clusters) for _, clusters, _ in homes), dtype=np.uint64)
    for block, clusters, nodes in homes:
        segments[clusters] = segments_of(tables, octree, 0, block)[1][nodes]
    return segments


def homes_of_leaf(tables: str, index: Triple) -> Iterator[tuple[Triple, Int64s, npt.NDArray[np.int32]]]:
    """Finds where the clusters of a block's leaf are: each block that holds some, with these and the nodes there."""
    placement = block_tables.read_placement(tables, index)
    here = np.flatnonzero(placement.place >= 0)
    yield index, here, placement.place[here]
    gone = np.flatnonzero(placement.place < 0)
    number = -1 - placement.place[gone]
    face, there = placement.moved_face[number], placement.moved_to[number]
    for bit in np.unique(face).tolist():
        block, through = block_across(index, bit), face == bit
        yield block, gone[through], block_tables.read_placement(tables, block).place[there[through]]


def block_across(index: Triple, face: int) -> Triple:
    """Returns the block beyond one of a block's faces, given by its bit."""
    axis, above = divmod(face.bit_length() - 1, 2)
    z, y, x = (i + (k == axis) * (2 * above - 1) for k, i in enumerate(index))
    return z, y, x
