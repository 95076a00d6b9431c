"""An open volume: reading and writing boxes, and telling whether it is still the same volume."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from ..errors import VolumeError
from ..geometry import BlockGrid, Box, Triple
from ..locations import FAILURES, storage_error
from .arrays import StoredArray
from .spec import Nanometres, VolumeSpec
from .stores import Found

IDENTITY_FILES = 10_000  # files looked at, at most, to notice a rewritten volume


class Volume:
    """Reads and writes an open volume. Made by `open_volume` and `create_volume`; boxes are in voxels from its origin.

    Attributes:
        path: where it lies: an absolute path, or a URL.
        spec: shape, type, voxel size and the rest.
        remarks: what whoever uses it must be told: of its size, or of how it is read.
    """

    def __init__(
        self,
        path: str,
        spec: VolumeSpec,
        array: StoredArray,
        found: Found,
        *,
        writable: bool,
        remarks: tuple[str, ...] = (),
    ) -> None:
        self.path = path
        self.spec = spec
        self.remarks = remarks
        self._array = array
        self._found = found
        self._writable = writable

    def __repr__(self) -> str:
        return f"Volume({self.path!r}, {self.spec.dtype} {self.spec.array_shape}, {self.spec.voxel_size} nm)"

    @property
    def first_centre(self) -> Nanometres:
        """Returns position in nm of the centre of voxel (0, 0, 0).

        Precomputed, and zarr with a voxel size among its own attributes, state the lower corner, all others the centre.
        """
        found, spec = self._found, self.spec
        stated = ("voxel_size" in found.attributes or "resolution" in found.attributes) and found.array_format != "n5"
        if found.array_format != "neuroglancer_precomputed" and (not stated or "transform" in found.attributes):
            return spec.translation
        z, y, x = (corner + size / 2 for corner, size in zip(spec.translation, spec.voxel_size, strict=True))
        return z, y, x

    def read(self, box: Box, channels: slice | None = None) -> np.ndarray:
        """Returns the voxels of a box: (Z, Y, X), or (C, Z, Y, X) where the volume has channels. A new array.

        Args:
            box: inside the volume.
            channels: which channels, of a volume that has them; all unless given.

        Raises:
            VolumeError: the box reaches out of the volume, or there are no channels to choose from.
            StorageError: the storage failed, or a chunk is damaged.
        """
        if not self.spec.box.contains(box):
            raise VolumeError(f"Cannot read {box} of {self.path}: the volume is {self.spec.box}.")
        where: tuple[slice, ...] = box.slices()
        if self.spec.channels is not None:
            where = (channels or slice(None), *where)
        elif channels is not None:
            raise VolumeError(f"Cannot read channels {channels} of {self.path}: it has no channel axis.")
        try:
            return self._array.read(where)
        except FAILURES as error:
            raise storage_error(error, "read", f"{box} of {self.path}") from error

    def write(self, box: Box, array: np.ndarray) -> None:
        """Write the voxels of a box, all channels at once. Each shard appears whole or not at all.

        Args:
            box: covers whole write units of the spec, or ends where the volume ends.
            array: of the box's shape (channels first) and the volume's type.

        Raises:
            VolumeError: the volume is open for reading only; the box, shape or type does not fit.
            StorageError: the storage refused (disk full, no permission).
        """
        self._check_write(box, array)
        channels = () if self.spec.channels is None else (slice(None),)
        try:
            for unit in _units(box, self.spec.write_unit):
                where = (*channels, *unit.slices())
                self._array.write(where, array[(..., *unit.slices(box.start))])
        except FAILURES as error:
            raise storage_error(error, "write", f"{box} of {self.path}") from error

    def _check_write(self, box: Box, array: np.ndarray) -> None:
        spec = self.spec
        if not self._writable:
            raise VolumeError(f"{self.path} is open for reading only; use open_volume(…, writable=True).")
        shape = box.shape if spec.channels is None else (spec.channels, *box.shape)
        if array.shape != shape or array.dtype != np.dtype(spec.dtype):
            raise VolumeError(
                f"To {box} of {self.path} goes a {spec.dtype} array of shape {shape}, "
                f"found {array.dtype} of shape {array.shape}."
            )
        ends = zip(box.start, box.stop, spec.shape, spec.write_unit, strict=True)
        if not spec.box.contains(box) or any(a % u or (b % u and b != end) for a, b, end, u in ends):
            raise VolumeError(
                f"A write must cover whole units of {spec.write_unit} voxels inside {spec.box}, found {box} "
                f"for {self.path}."
            )

    def identity(self) -> str:
        """Returns a hash that changes when the volume is replaced or rewritten, without reading a voxel.

        It covers the address, the array's metadata, and the time stamps of the metadata (remote: the server's
        generation or etag). On a local disk also the name, time stamp and size of the data files, folder by folder
        from the top, of up to 10 000 files; of a larger folder its own time stamp, which changes when a file in it is
        created or replaced. What this misses: chunks rewritten in place beyond those, and on servers any chunk
        rewritten under unchanged metadata. A copied or touched volume counts as another one.
        """
        found = self._found
        known: list[object] = [self.path, found.documents, found.stamps, repr(self.spec)]
        if found.place.is_local:
            known.append(list(_file_stamps(Path(found.place.path), IDENTITY_FILES)))
        return hashlib.sha256(json.dumps(known, sort_keys=True).encode()).hexdigest()


def _units(box: Box, unit: Triple) -> Iterator[Box]:
    """The parts of a box that lie in one write unit each."""
    grid = BlockGrid(box.stop, unit)
    for index in grid.touching(box):
        yield grid.box(index).intersect(box)


def _file_stamps(root: Path, budget: int) -> Iterator[tuple[str, int, int]]:
    """(path, time of change, size) of files below a folder, breadth first, never more than a budget of them."""
    folders = [root]
    while folders:
        folder = folders.pop(0)
        entries = []
        with os.scandir(folder) as scan:
            for entry in scan:
                entries.append(entry)
                if len(entries) > budget:
                    break
        budget -= len(entries)
        if budget < 0:
            status = folder.stat()
            yield str(folder.relative_to(root)), status.st_mtime_ns, -1
            budget = 0
            continue
        for entry in sorted(entries, key=lambda e: e.name):
            if entry.is_dir():
                folders.append(Path(entry.path))
            elif not entry.name.endswith(".__lock"):
                status = entry.stat()
                yield str(Path(entry.path).relative_to(root)), status.st_mtime_ns, status.st_size
