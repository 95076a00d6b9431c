"""The largest splits and mergers of a contingency table: which ids, how many voxels, and where to look."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..geometry import Box, Triple, triple
from .contingency import Contingency


@dataclass(frozen=True)
class Split:
    """Describes a piece of a truth object that lies in another segment than the object's largest piece.

    Args:
        truth: the object.
        segment: the segment that holds most of it.
        piece: the segment that holds this piece.
        voxels: voxels of the piece.
        voxel: one voxel of the piece, z y x.
        box: the piece's bounding box.
    """

    truth: int
    segment: int
    piece: int
    voxels: int
    voxel: Triple
    box: Box


@dataclass(frozen=True)
class Merger:
    """Describes a piece of a segment that lies in another truth object than the segment's largest piece.

    Args:
        segment: the segment.
        truth: the object that holds most of it.
        piece: the object that holds this piece.
        voxels: voxels of the piece.
        voxel: one voxel of the piece, z y x.
        box: the piece's bounding box.
    """

    segment: int
    truth: int
    piece: int
    voxels: int
    voxel: Triple
    box: Box


def largest_splits(table: Contingency, number: int = 10) -> tuple[Split, ...]:
    """Returns the splits that cut off most voxels, largest first. Unlabelled voxels (segment 0) are no split."""
    labelled = np.flatnonzero(table.segment != 0)
    return tuple(
        Split(int(table.truth[row]), int(table.segment[main]), int(table.segment[row]), *_place(table, row))
        for main, row in _strays(table, labelled, table.truth, table.segment, number)
    )


def largest_mergers(table: Contingency, number: int = 10) -> tuple[Merger, ...]:
    """Returns the mergers that join most voxels to a segment that is mainly another object, largest first."""
    labelled = np.flatnonzero(table.segment != 0)
    return tuple(
        Merger(int(table.segment[row]), int(table.truth[main]), int(table.truth[row]), *_place(table, row))
        for main, row in _strays(table, labelled, table.segment, table.truth, number)
    )


def _strays(
    table: Contingency,
    rows: npt.NDArray[np.int64],
    whole: npt.NDArray[np.uint64],
    part: npt.NDArray[np.uint64],
    number: int,
) -> list[tuple[int, int]]:
    """(row of the largest part of a whole, row of another part of it), the largest other parts of all first."""
    order = rows[np.lexsort((part[rows], -table.voxels[rows], whole[rows]))]
    is_main = np.r_[True, whole[order][1:] != whole[order][:-1]][: len(order)]
    mains = order[is_main][np.cumsum(is_main) - 1]
    strays = np.flatnonzero(~is_main)
    chosen = strays[np.argsort(-table.voxels[order[strays]], kind="stable")][:number]
    return [(int(mains[k]), int(order[k])) for k in chosen]


def _place(table: Contingency, row: int) -> tuple[int, Triple, Box]:
    box = Box(triple(table.start[row].tolist()), triple(table.stop[row].tolist()))
    return int(table.voxels[row]), triple(table.place[row].tolist()), box
