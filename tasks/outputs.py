"""Describes what tasks leave in storage, piece by piece, and the checksum of each piece as it is read back."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import google_crc32c
import numpy as np
import numpy.typing as npt

from ..pipeline import checksums, tables
from ..pipeline.errors import StorageError
from ..pipeline.geometry import Box, triple
from ..pipeline.volumes import Volume, open_volume


class Piece(Protocol):
    """Stands for one thing that one task leaves: the task's own, written by no other."""

    @property
    def path(self) -> str: ...

    def checksum(self) -> int:
        """Computes the checksum of the values in storage.

        Raises:
            PetavoxError: it is missing, or cannot be read.
        """

    def is_blank(self) -> bool:
        """Tells whether the piece reads as something never written, which raises no error."""

    def clear(self) -> None:
        """Make it as if never written, where its task leaves out what is blank and would not write over it.

        Raises:
            PetavoxError: it cannot be written.
        """


@dataclass(frozen=True)
class VolumePart:
    """Names a box of a volume, all channels; what was never written counts as the volume's fill value."""

    path: str
    box: Box

    def checksum(self) -> int:
        return checksums.of_array(open_volume(self.path).read(self.box))

    def is_blank(self) -> bool:
        volume = open_volume(self.path)
        return bool((volume.read(self.box) == volume.spec.fill_value).all())

    def clear(self) -> None:
        volume = open_volume(self.path, writable=True)
        shape = self.box.shape if volume.spec.channels is None else (volume.spec.channels, *self.box.shape)
        write_part(volume, self.box, np.full(shape, volume.spec.fill_value, volume.spec.dtype))


def write_part(volume: Volume, box: Box, voxels: npt.NDArray[np.generic]) -> None:
    """Write a box that a region of a volume has cut; what else its write units hold becomes 0.

    Args:
        volume: open for writing; the task alone writes the units that the box touches.
        box: inside the volume.
        voxels: of the box's shape, channels first.
    """
    spec = volume.spec
    start = triple([a // unit * unit for a, unit in zip(box.start, spec.write_unit, strict=True)])
    stop = triple([-(-b // unit) * unit for b, unit in zip(box.stop, spec.write_unit, strict=True)])
    units = Box(start, stop).intersect(spec.box)
    if units != box:
        around = np.zeros((*voxels.shape[:-3], *units.shape), voxels.dtype)
        around[(..., *box.slices(units.start))] = voxels
        voxels = around
    volume.write(units, voxels)


@dataclass(frozen=True)
class Table:
    """Names a table, compared column by column."""

    path: str

    def checksum(self) -> int:
        return tables.checksum(self.path)

    def is_blank(self) -> bool:
        return False

    def clear(self) -> None:
        """Do nothing: its task writes it as a whole."""


@dataclass(frozen=True)
class File:
    """Names a small file, compared as it is."""

    path: str

    def checksum(self) -> int:
        try:
            checksum: int = google_crc32c.value(Path(self.path).read_bytes())
        except OSError as error:
            raise StorageError(f"{self.path} cannot be read: {error.strerror or error}.") from error
        return checksum

    def is_blank(self) -> bool:
        return False

    def clear(self) -> None:
        """Do nothing: its task writes it as a whole."""
