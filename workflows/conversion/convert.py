"""Bringing volumes in: TIFF, sections, HDF5, zarr, N5 and precomputed become OME-Zarr, box by box."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ...pipeline.errors import PetavoxError, RequestError, VolumeError
from ...pipeline.geometry import BlockGrid, Box, Triple, triple
from ...pipeline.volumes import Volume, VolumeSpec, create_volume, default_chunks, open_volume
from ...pipeline.volumes.opening import LARGEST_CHUNK
from ..progress import Progress
from .journal import Journal, journal_for
from .options import SourceOptions
from .preview import check_preview, write_preview
from .sources import Source, open_source
from .summary import Converted, both, extremes_of

SHARD: Triple = (64, 512, 512)  # voxels; what one file of a converted volume holds
REGION_BYTES = 1 << 28  # read at a time, at least one shard
OTHER_FORMATS = frozenset(
    {
        *(".tif", ".tiff", ".png", ".jpg", ".jpeg", ".bmp", ".h5", ".hdf5", ".hdf", ".n5", ".mrc", ".nii", ".nrrd"),
        *(".npy", ".npz", ".raw", ".zip", ".gz", ".toml", ".txt"),
    }
)
"""Endings of names that promise another format than that which is written."""


def convert(
    source: str | Path,
    destination: str | Path,
    options: SourceOptions | None = None,
    *,
    box: Box | None = None,
    chunk: Sequence[int] | None = None,
    preview: Path | None = None,
    tell: Callable[[str], None] = lambda remark: None,
    progress: Progress | None = None,
) -> Converted:
    """Copy a volume into a new OME-Zarr 0.5 on a local disk; its type is kept.

    The new volume appears under its name when it is complete. Interrupted, the same call goes on where it stopped.
    Memory does not grow with the volume.

    Args:
        source: a TIFF or HDF5 file, a folder or pattern of TIFF, PNG or BMP sections, or a volume's path or URL.
        destination: path of the new volume; nothing may be there.
        options: what is said of the source: voxel size, axes, dataset and the like.
        box: the part to convert, in voxels; all unless given.
        chunk: unit of reading of the new volume, z y x voxels.
        preview: a PNG to be made of the new volume.
        tell: told what a user must know of the source and of its values.
        progress: told of each region that is done.

    Returns:
        The new volume, with what it came to.

    Raises:
        VolumeError: the source is missing or not a volume, or the destination exists.
        RequestError: an option does not fit the source, the destination is not on a local disk, or another conversion
            into it is at work.
        StorageError: reading or writing failed.
    """
    target = _local(destination)
    if preview is not None:
        check_preview(preview)
    with open_source(source, options or SourceOptions()) as opened:
        part = Box.of_shape(opened.shape) if box is None else box
        spec = _spec(opened, part, chunk)
        _check_apart(target, opened.path)
        for remark in opened.remarks:
            tell(remark)
        with journal_for(target, _settings(opened, spec, part)) as journal:
            _check_free(target)
            if journal.discarded:
                tell(f"{journal.partial}: what an earlier conversion of something else had left is thrown away.")
            _copy(opened, part, create_volume(journal.partial, spec), journal, progress)
            low, high, odd = _total(journal)
    converted = Converted(open_volume(target), _sections(opened, part), low, high, odd)
    for remark in converted.remarks:
        tell(remark)
    if preview is not None:
        write_preview(converted.volume, preview)
    return converted


def _local(destination: str | Path) -> Path:
    text = str(destination).removeprefix("file://")
    if "://" in text:
        raise RequestError(f"Volumes are converted to a local disk, found {text}. Convert there, then copy the folder.")
    path = Path(text).expanduser().absolute()
    if path.suffix.lower() in OTHER_FORMATS:
        raise RequestError(
            f"What convert writes is OME-Zarr, and {path.name} promises something else. Name it {path.stem}.zarr."
        )
    _check_free(path)
    return path


def _check_free(path: Path) -> None:
    if path.exists() or path.is_symlink():
        raise VolumeError(f"{path} exists and is not overwritten. Choose another name, or delete it first.")


def _check_apart(target: Path, source: str) -> None:
    folder = Path(source)
    if folder.is_dir() and target.is_relative_to(folder.absolute()):
        raise RequestError(f"{target} lies inside {source}, and sources are not changed. Choose a name elsewhere.")


def _settings(source: Source, spec: VolumeSpec, part: Box) -> dict[str, Any]:
    """Lists the settings that two conversions share if the second may go on with what the first has left."""
    return {"source": source.path, "identity": source.identity, "part": str(part), "spec": repr(spec)}


def _sections(source: Source, part: Box) -> str:
    """Words how many sections were converted, the first and the last."""
    all_of = source.sections or f"{source.shape[0]} sections"
    if part.shape[0] == source.shape[0]:
        return all_of
    return f"sections {part.start[0]} to {part.stop[0] - 1} of {all_of}"


def _total(journal: Journal) -> tuple[float, float, int]:
    total = (math.nan, math.nan, 0)
    for extremes in journal.done.values():
        total = both(total, extremes)
    return total


def _spec(source: Source, part: Box, chunk: Sequence[int] | None) -> VolumeSpec:
    if part.is_empty or not Box.of_shape(source.shape).contains(part):
        raise VolumeError(f"The part {part} must lie inside {source.path}, which has {source.shape} voxels (z, y, x).")
    if chunk is None:
        unit, shard = default_chunks(SHARD, part.shape)
    else:
        unit = triple(chunk)
        shard = triple([c * max(1, min(s, n) // max(c, 1)) for c, s, n in zip(unit, SHARD, part.shape, strict=True)])
    needed = math.prod(shard) * np.dtype(source.dtype).itemsize * (source.channels or 1)
    if needed > LARGEST_CHUNK:
        raise VolumeError(
            f"{source.path} has {source.channels} channels, of which a shard of {shard} voxels takes {needed} bytes. "
            "Take one channel, --channel 0, or name its axes, if these are no channels: --axes"
        )
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


def _copy(source: Source, part: Box, volume: Volume, journal: Journal, progress: Progress | None) -> None:
    grid = BlockGrid(part.shape, _region(volume.spec))
    if progress:
        progress.begin([("convert", len(grid), len(journal.done))])
    try:
        for index in grid.indices():
            if index in journal.done:
                continue
            box = grid.box(index)
            voxels = _read(source, box.shift(part.start), journal)
            volume.write(box, voxels)
            journal.add(index, extremes_of(voxels))
            if progress:
                progress.advance("convert")
    finally:
        if progress:
            progress.close()


def _read(source: Source, box: Box, journal: Journal) -> np.ndarray:
    """The voxels of a box of the source; where the source itself is bad, nothing of it is kept."""
    try:
        return source.read(box)
    except PetavoxError as error:
        cause = error.__cause__
        if not (isinstance(cause, OSError) and cause.errno):  # a disk or a server may come back
            journal.discard()
        raise


def _region(spec: VolumeSpec) -> Triple:
    """Chooses the box to read at a time: a shard, grown along x, then y, for whole sections are quickest to read."""
    voxel = np.dtype(spec.dtype).itemsize * (spec.channels or 1)
    region = list(spec.write_unit)
    for axis in (2, 1):
        units = -(-spec.shape[axis] // region[axis])
        region[axis] *= max(1, min(units, REGION_BYTES // (math.prod(region) * voxel)))
    return triple(region)
