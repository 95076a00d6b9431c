"""Defines what a user may say of a source beside its path."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class SourceOptions:
    """Holds what a user says of a source, which always wins over what the source says.

    Args:
        voxel_size: nm, z y x.
        axes: the array's axes in its own order, one letter each; three of a TIFF: its pages, one after the other.
        dataset: which array of an HDF5 file, or which image of an OME-TIFF.
        offsets: of affinities, (z, y, x) a channel.
        channel, time: the one that is read, from 0.
        in_order: sections follow one another in the order of their names, whatever the numbers in them say.
        lossy: JPEG is read, too.
        default_voxel_size: nm, z y x, where neither the user nor the source says one.
    """

    voxel_size: Sequence[float] | None = None
    axes: str | None = None
    dataset: str | None = None
    offsets: Sequence[Sequence[int]] | None = None
    channel: int | None = None
    time: int | None = None
    in_order: bool = False
    lossy: bool = False
    default_voxel_size: Sequence[float] | None = None
