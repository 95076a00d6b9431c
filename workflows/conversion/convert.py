"""Bringing volumes in: TIFF, PNG sections, HDF5, zarr, N5 and precomputed become OME-Zarr, box by box."""

from __future__ import annotations

import math
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ...pipeline.errors import RequestError, StorageError, VolumeError
from ...pipeline.geometry import BlockGrid, Box, Triple, triple
from ...pipeline.volumes import Volume, VolumeSpec, create_volume, default_chunks, open_volume
from ..progress import Progress
from .sources import Source, open_source

SHARD: Triple = (64, 512, 512)  # voxels; what one file of a converted volume holds
REGION_BYTES = 1 << 28  # read at a time, at least one shard


def convert(
    source: str | Path,
    destination: str | Path,
    *,
    voxel_size: Sequence[float] | None = None,
    axes: str | None = None,
    dataset: str | None = None,
    box: Box | None = None,
    chunk: Sequence[int] | None = None,
    offsets: Sequence[Sequence[int]] | None = None,
    progress: Progress | None = None,
) -> Volume:
    """Copy a volume into a new OME-Zarr 0.5 on a local disk; its type is kept.

    The new volume appears under its name when it is complete. Memory does not grow with the volume.

    Args:
        source: a TIFF or HDF5 file, a folder of TIFF or PNG sections in natural order, or a volume's path or URL.
        destination: path of the new volume; nothing may be there.
        voxel_size: nm, z y x; needed where the source does not say.
        axes: the source's axes in its own order, one letter each, such as "xyz", where it says none or wrong ones.
        dataset: which array of an HDF5 file; needed where it has several.
        box: the part to convert, in voxels; all unless given.
        chunk: unit of reading of the new volume, z y x voxels.
        offsets: of affinities, (z, y, x) a channel: channel c at p is the edge of p and p − offset.
        progress: told of each region that is done.

    Returns:
        The new volume, open for reading.

    Raises:
        VolumeError: the source is missing or not a volume, or the destination exists.
        RequestError: an option does not fit the source, or the destination is not on a local disk.
        StorageError: reading or writing failed.
    """
    target = _local(destination)
    with open_source(source, voxel_size=voxel_size, axes=axes, dataset=dataset, offsets=offsets) as opened:
        part = Box.of_shape(opened.shape) if box is None else box
        spec = _spec(opened, part, chunk)
        partial = target.with_name(f".{target.name}.partial")
        try:
            shutil.rmtree(partial, ignore_errors=True)  # what an earlier attempt left when it was killed
            _copy(opened, part, create_volume(partial, spec), progress)
            partial.rename(target)
        except OSError as error:
            raise StorageError(f"Could not write {target}: {error}.") from error
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    return open_volume(target)


def _local(destination: str | Path) -> Path:
    text = str(destination).removeprefix("file://")
    if "://" in text:
        raise RequestError(f"Volumes are converted to a local disk, found {text}. Convert there, then copy the folder.")
    path = Path(text).expanduser().absolute()
    if path.exists():
        raise VolumeError(f"{path} exists and is not overwritten. Choose another name, or delete it first.")
    return path


def _spec(source: Source, part: Box, chunk: Sequence[int] | None) -> VolumeSpec:
    if part.is_empty or not Box.of_shape(source.shape).contains(part):
        raise VolumeError(f"The part {part} must lie inside {source.path}, which has {source.shape} voxels (z, y, x).")
    if source.voxel_size is None:
        raise VolumeError(
            f"{source.path} does not say its voxel size. Give it in nm as z,y,x, for example --voxel-size 30,6,6"
        )
    if chunk is None:
        unit, shard = default_chunks(SHARD, part.shape)
    else:
        unit = triple(chunk)
        shard = triple([c * max(1, min(s, n) // max(c, 1)) for c, s, n in zip(unit, SHARD, part.shape, strict=True)])
    z, y, x = (t + a * s for t, a, s in zip(source.translation, part.start, source.voxel_size, strict=True))
    return VolumeSpec(
        shape=part.shape,
        dtype=source.dtype,
        voxel_size=source.voxel_size,
        translation=(z, y, x),
        channels=source.channels,
        offsets=source.offsets,
        chunk=unit,
        shard=shard,
    )


def _copy(source: Source, part: Box, volume: Volume, progress: Progress | None) -> None:
    grid = BlockGrid(part.shape, _region(volume.spec))
    if progress:
        progress.begin([("convert", len(grid), 0)])
    try:
        for index in grid.indices():
            box = grid.box(index)
            volume.write(box, source.read(box.shift(part.start)))
            if progress:
                progress.advance("convert")
    finally:
        if progress:
            progress.close()


def _region(spec: VolumeSpec) -> Triple:
    """What is read at a time: a shard, grown along x and then y, for whole sections are quickest to read."""
    voxel = np.dtype(spec.dtype).itemsize * (spec.channels or 1)
    region = list(spec.write_unit)
    for axis in (2, 1):
        units = -(-spec.shape[axis] // region[axis])
        region[axis] *= max(1, min(units, REGION_BYTES // (math.prod(region) * voxel)))
    return triple(region)
