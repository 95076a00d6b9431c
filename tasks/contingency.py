"""Segmentation and truth of a block → one contingency table; blocks outside the scored box have none."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from ..pipeline import tables
from ..pipeline.evaluation.boundaries import halo, ignore_boundaries
from ..pipeline.evaluation.contingency import Contingency, Labels, Mask, count
from ..pipeline.geometry import Box, Triple
from ..pipeline.labels import object_ids, unknown_voxels
from ..pipeline.volumes import CACHE_BYTES, VolumeSource, open_volume
from . import block_tables
from .contract import Density, GridConfig, Outcome, Resources
from .outputs import Piece
from .work import Extent, Growth, Work

VERSION = 2


class Config(GridConfig):
    """Configures the table of voxels that segments and truth objects of a block share.

    Args:
    segmentation: path of the segmentation.
    truth: the true labels, on the same grid of voxels; 0 and labels that mark unknown voxels are not scored.
    mask: a volume on the truth's frame; where it is 0 nothing is looked at.
    offset: where the first voxel of truth and mask lies in the segmentation, voxels.
    start, stop: the scored box in voxels of the segmentation, inside the segmentation and inside the truth.
    tolerance: nm; truth voxels this close to a boundary in the same section are not scored.
    tables: folder of the run's tables.
    """

    segmentation: str
    truth: VolumeSource
    mask: VolumeSource | None = None
    offset: Triple = (0, 0, 0)
    start: Triple
    stop: Triple
    tolerance: float | None = None
    tables: str


def resources(config: Config, _: Density) -> Resources:
    """States segmentation and truth at 8 bytes a voxel, chunks, the mask and its truth, and the halo of tolerance."""
    masked = 0 if config.mask is None else 1 + 8
    tolerant = 0 if config.tolerance is None else 8 + 8
    voxels = min(Box.of_shape(config.block).voxels, Box(config.start, config.stop).voxels)
    return Resources(memory=CACHE_BYTES + voxels * (8 + 8 + 3 + masked + tolerant))


def work(config: Config, extent: Extent, _: Growth) -> Work:
    """Counts the voxels of the scored box."""
    return Work(extent.tasks(), extent.voxels(Box(config.start, config.stop)))


def run(config: Config, index: Triple) -> Outcome:
    if _part(config, index).is_empty:
        return Outcome(state="masked")
    table = count_block(config, index)
    written = tables.write(block_tables.path(config.tables, "contingency", index), table.to_arrays())
    counts = {"pairs": len(table), "table_bytes": written.bytes}
    return Outcome(voxels=table.scored, counts=counts, checksum=written.checksum)


def pieces(config: Config, index: Triple) -> tuple[Piece, ...]:
    return () if _part(config, index).is_empty else block_tables.pieces(config.tables, "contingency", index)


def blocks(config: Config) -> Iterator[Triple]:
    """Lists the blocks that have a table."""
    return config.grid.touching(Box(config.start, config.stop))


def read_block(config: Config, index: Triple) -> Contingency:
    """Returns the table that `run` left for a block."""
    return Contingency.from_arrays(tables.read(block_tables.path(config.tables, "contingency", index)))


def count_block(config: Config, index: Triple) -> Contingency:
    """Returns the contingency table of a block; places are in voxels of the segmentation."""
    part = _part(config, index)
    truth = read_truth(config, part)
    table = count(truth.labels, open_volume(config.segmentation).read(part), mask=truth.mask, origin=part.start)
    return replace(table, unknown=truth.unknown)


@dataclass(frozen=True)
class Truth:
    """Holds the truth over a box, as it is scored.

    Args:
        labels: (Z, Y, X) ids, 0 where nothing is scored.
        mask: of its shape; None where there is none.
        unknown: voxels inside the mask that are marked as unknown, whose label is 0 here.
    """

    labels: Labels
    mask: Mask | None
    unknown: int


def read_truth(config: Config, part: Box) -> Truth:
    """Returns the truth over a part of the scored box."""
    in_truth = [-offset for offset in config.offset]
    truth_volume = config.truth.open()
    mask = None if config.mask is None else config.mask.open().read(part.shift(in_truth)) != 0
    if config.tolerance is None:
        stored = truth_volume.read(part.shift(in_truth))
        truth: Labels = object_ids(stored, "truth")
    else:
        # The halo ends at the scored box, so that the result is that of the box cropped out of everything.
        voxel_size = truth_volume.spec.voxel_size
        seen = part.grow(halo(config.tolerance, voxel_size)).intersect(Box(config.start, config.stop))
        whole, inside = truth_volume.read(seen.shift(in_truth)), part.slices(seen.start)
        stored = whole[inside]
        truth = ignore_boundaries(object_ids(whole, "truth"), config.tolerance, voxel_size)[inside]
    return Truth(truth, mask, unknown_voxels(stored, mask))


def _part(config: Config, index: Triple) -> Box:
    return config.grid.box(index).intersect(Box(config.start, config.stop))
