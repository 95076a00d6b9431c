"""The faces between a block and the three before it → what they cut joins; contacts and links that stay there."""

from __future__ import annotations

from ..pipeline.agglomeration.contacts import face_contacts
from ..pipeline.agglomeration.octree_node import face_bit
from ..pipeline.agglomeration.seams import Seam, sew
from ..pipeline.agglomeration.small_supervoxels import JoinRule
from ..pipeline.geometry import Triple
from . import block_tables
from .contract import Density, GridConfig, Outcome, Resources
from .outputs import Piece
from .work import Extent, Growth, Work

VERSION = 3
_CONTACTS_OF_A_CUT_ONE = 5


class Config(GridConfig):
    """Configures the seams of a block at its faces to the three blocks before it.

    Args:
    join_size, join_affinity: see `JoinRule`; a decimal.
    levels: levels of the contacts' histograms; 0 for none.
    tables: folder of the run's tables.
    """

    join_size: int = 0
    join_affinity: str = "1"
    levels: int = 0
    tables: str


def resources(config: Config, density: Density) -> Resources:
    """Returns the clusters of two blocks, the planes of the largest face, and the graph of what that cuts."""
    z, y, x = config.block
    surface, face = 2 * (z * y + z * x + y * x), max(z * y, z * x, y * x)
    clusters = 2 * (density.clusters * z * y * x + density.cut * surface)
    cut = 2 * density.cut * _CONTACTS_OF_A_CUT_ONE * (200 + 12 * config.levels)
    return Resources(memory=round(100 * clusters + face * (20 + cut)))


def work(_: Config, extent: Extent, growth: Growth) -> Work:
    """Counts the voxels of faces, and the contacts through them."""
    return Work(extent.tasks(), extent.faces(), growth.across * extent.faces())


def run(config: Config, index: Triple) -> Outcome:
    seams = {axis: _seam(config, index, axis) for axis in range(3) if index[axis] > 0}
    written = block_tables.write_seams(config.tables, index, seams)
    found = seams.values()
    return Outcome(
        counts={
            "face_contacts": sum(len(seam.face.a) for seam in found),
            "links": sum(len(seam.face.link_a) for seam in found),
            "handed_over": sum(len(seam.before.moved_out) + len(seam.behind.moved_out) for seam in found),
            "table_bytes": written.bytes,
        },
        checksum=written.checksum,
    )


def pieces(config: Config, index: Triple) -> tuple[Piece, ...]:
    return block_tables.pieces(config.tables, "faces", index)


def _seam(config: Config, index: Triple, axis: int) -> Seam:
    box = config.grid.box(index)
    shape = [n for i, n in enumerate(box.shape) if i != axis]
    z, y, x = (i - (k == axis) for k, i in enumerate(index))
    before, last = block_tables.read_side(
        config.tables, (z, y, x), face_bit(axis, above=True), config.levels, [f"last{axis}"]
    )
    planes = [f"{name}{axis}" for name in ("first", "affinity", "picked")]
    behind, found = block_tables.read_side(config.tables, index, face_bit(axis, above=False), config.levels, planes)
    first, affinity, picked = (found[name].reshape(shape) for name in planes)
    contacts, links = face_contacts(
        last[f"last{axis}"].reshape(shape),
        first,
        affinity,
        picked,
        box.start,
        config.volume,
        axis,
        config.levels,
    )
    rule = JoinRule.parse(config.join_size, config.join_affinity)
    return sew(before, behind, contacts, links, rule)
