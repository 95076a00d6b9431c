"""`petavox.open` and `petavox.convert`: volumes in storage, indexed like NumPy arrays."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator, Sequence
from math import prod
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from ...cluster.quantities import in_bytes
from ...pipeline.errors import RequestError, VolumeError
from ...pipeline.geometry import Box, triple
from ...pipeline.volumes import Volume as StoredVolume
from ...pipeline.volumes import VolumeSpec, open_volume
from ..progress import suitable
from .tables import Shown, Table, by

VolumePath = str | os.PathLike[str]
_AXES = "czyx"


class Source(Protocol):
    """Stands for voxels, wherever they come from."""

    path: str
    spec: VolumeSpec

    def read(self, box: Box, channels: slice | None = None) -> npt.NDArray[Any]:
        """Returns the voxels of a box, (Z, Y, X) or (C, Z, Y, X)."""


class Volume(Shown):
    """Opens a volume in storage. Indexing reads exactly the voxels that are asked for, as a NumPy array.

        >>> volume = petavox.open("em.zarr")
        >>> volume.shape, volume.voxel_size
        ((16, 128, 128), (30.0, 6.0, 6.0))
        >>> volume[8].shape                                         # a section
        (128, 128)
        >>> volume[0:8, 64:, -32:].shape
        (8, 64, 32)

    Integers and slices without a step work as in NumPy, negative ones included; a volume with channels is indexed
    `[c, z, y, x]`. `np.asarray(volume)` reads all of it. It can be given wherever petavox takes a path.
    """

    def __init__(self, source: Source) -> None:
        self._source = source

    @property
    def path(self) -> str:
        """Returns an absolute path, or a URL."""
        return self._source.path

    @property
    def spec(self) -> VolumeSpec:
        """Returns everything that is known of the volume before a voxel is read."""
        return self._source.spec

    @property
    def shape(self) -> tuple[int, ...]:
        """Returns (Z, Y, X) or (C, Z, Y, X)."""
        return self.spec.array_shape

    @property
    def ndim(self) -> int:
        """Returns 3, or 4 with channels."""
        return len(self.shape)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Returns the NumPy type of a voxel."""
        return np.dtype(self.spec.dtype)

    @property
    def voxel_size(self) -> tuple[float, float, float]:
        """Returns the edge lengths of a voxel in nm, z, y, x."""
        return self.spec.voxel_size

    @property
    def channels(self) -> int | None:
        """Returns the number of channels; None for a volume without a channel axis."""
        return self.spec.channels

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, key: Any) -> npt.NDArray[Any]:
        ranges, dropped = _ranges(key, self.shape)
        *channels, z, y, x = ranges
        box = Box(triple([z.start, y.start, x.start]), triple([z.stop, y.stop, x.stop]))
        size = prod(map(len, ranges)) * self.dtype.itemsize
        _check_fits(size, self.path)
        if size == 0:
            voxels = np.empty(tuple(map(len, ranges)), self.dtype)
        else:
            voxels = self._source.read(box, slice(channels[0].start, channels[0].stop) if channels else None)
        return voxels[tuple(0 if axis in dropped else slice(None) for axis in range(self.ndim))]

    def __iter__(self) -> Iterator[npt.NDArray[Any]]:
        return (self[i] for i in range(len(self)))

    def __array__(self, dtype: npt.DTypeLike | None = None, copy: bool | None = None) -> npt.NDArray[Any]:
        if copy is False:
            raise VolumeError(f"Voxels are read from {self.path}, which always makes a copy; found copy=False.")
        return self[...].astype(self.dtype if dtype is None else dtype, copy=False)

    def __fspath__(self) -> str:
        if not isinstance(self._source, StoredVolume):
            raise RequestError(
                f"These voxels are made as they are read from {self.path}, and have no path of their own. Take an"
                " array of them: volume[…]."
            )
        return self.path

    def parts(self) -> Sequence[str | Table]:
        spec = self.spec
        extent = [length * size / 1000 for length, size in zip(spec.shape, spec.voxel_size, strict=True)]
        facts = {
            "shape": f"{by(self.shape)} ({'c, ' if spec.channels else ''}z, y, x)",
            "voxel size": f"{by(spec.voxel_size)} nm",
            "extent": f"{' × '.join(f'{length:.3g}' for length in extent)} µm",
            "type": f"{spec.dtype}, {in_bytes(spec.nbytes)} uncompressed",
            "chunk": by(spec.chunk),
            "path": self.path,
        }
        return (Table({"volume": str, "": str}, tuple(facts.items())),)

    def __repr__(self) -> str:
        return f"Volume({self.path!r}, {self.dtype} {self.shape}, {self.voxel_size} nm)"


def open(path: VolumePath, *, voxel_size: Sequence[float] | None = None, axes: str | None = None) -> Volume:
    """Open a volume: zarr, N5, precomputed or OME-Zarr, on a disk or behind a URL. No voxel is read.

        >>> volume = petavox.open("em.zarr")
        >>> volume[8, 60:64, 60:63]
        array([[...]], dtype=uint8)

    Args:
        path: of an array, or of a group.
        voxel_size: nm, z y x, instead of what the metadata says.
        axes: the array's axes in its own order, one letter each, such as "xyz", instead of what the metadata says.

    Raises:
        VolumeError: nothing is there, or its axes, voxel size or type are missing or cannot be used. TIFF, PNG and
            HDF5 are no volumes yet: see `petavox.convert`.
    """
    return Volume(open_volume(os.fspath(path), voxel_size=voxel_size, axes=axes))


def convert(
    source: str | os.PathLike[str],
    destination: str | os.PathLike[str],
    *,
    voxel_size: Sequence[float] | None = None,
    axes: str | None = None,
    dataset: str | None = None,
    box: Box | Sequence[Sequence[int]] | None = None,
    chunk: Sequence[int] | None = None,
    offsets: Sequence[Sequence[int]] | None = None,
    channel: int | None = None,
    time: int | None = None,
    in_order: bool = False,
    lossy: bool = False,
    progress: bool = True,
) -> Volume:
    """Copy TIFF, PNG sections, HDF5 or any volume into a new OME-Zarr volume, which the rest of petavox reads.

        >>> volume = petavox.convert("sections", "stack.zarr", voxel_size=(30, 6, 6))
        >>> volume.shape
        (16, 128, 128)

    Args:
        source: a TIFF or HDF5 file, a folder of TIFF or PNG sections in natural order, or a volume.
        destination: path of the new volume; nothing may be there.
        voxel_size: nm, z y x; needed where the source does not say.
        axes: the source's axes in its own order, such as "xyz", where it says none or wrong ones.
        dataset: which array of an HDF5 file; needed where it has several.
        box: first voxel (z, y, x) and end (exclusive) of the part to convert; all unless given.
        chunk: unit of reading of the new volume, z y x voxels.
        offsets: of affinities, (z, y, x) a channel.
        channel, time: the channel and the point of time to take, from 0.
        in_order: takes sections in the order of their names, whatever their numbers say.
        lossy: reads JPEG sections, too.
        progress: show how far it is.

    Remarks about the source are given as warnings.

    Raises:
        VolumeError: the source is missing or not a volume, or the destination exists.
        RequestError: an option does not fit the source.
        StorageError: reading or writing failed.
    """
    from ..conversion.convert import convert as convert_volume
    from ..conversion.options import SourceOptions

    convert_volume(
        os.fspath(source),
        os.fspath(destination),
        SourceOptions(
            voxel_size=voxel_size,
            axes=axes,
            dataset=dataset,
            offsets=offsets,
            channel=channel,
            time=time,
            in_order=in_order,
            lossy=lossy,
        ),
        box=as_box(box),
        chunk=chunk,
        tell=warnings.warn,
        progress=suitable(progress),
    )
    return open(destination)


def as_box(box: Box | Sequence[Sequence[int]] | None) -> Box | None:
    """Returns a box from its first voxel (z, y, x) and its end, exclusive.

    Raises:
        RequestError: it is something else.
    """
    if box is None or isinstance(box, Box):
        return box
    try:
        start, stop = box
        return Box(triple(start), triple(stop))
    except (TypeError, ValueError) as error:
        raise RequestError(
            f"A box is its first voxel and its end, such as ((0, 0, 0), (32, 256, 256)); found {box!r}."
        ) from error


def _ranges(key: Any, shape: tuple[int, ...]) -> tuple[list[range], set[int]]:
    """The indices that a key means along each axis, and the axes that it takes one place of.

    Raises:
        VolumeError: it is neither integers nor slices without a step, or there are more of them than axes.
        IndexError: an integer lies outside the volume.
    """
    given = key if isinstance(key, tuple) else (key,)
    if (dots := sum(item is Ellipsis for item in given)) > 1 or len(given) - dots > len(shape):
        raise VolumeError(f"A volume of shape {shape} takes an index for each axis, and at most one '…'; found {key}.")
    missing = (slice(None),) * (len(shape) - len(given) + dots)
    if dots:
        place = next(i for i, item in enumerate(given) if item is Ellipsis)
        whole = (*given[:place], *missing, *given[place + 1 :])
    else:
        whole = (*given, *missing)
    names = _AXES[-len(shape) :]
    ranges = [_range(item, length, name) for item, length, name in zip(whole, shape, names, strict=True)]
    return ranges, {axis for axis, item in enumerate(whole) if not isinstance(item, slice)}


def _range(item: Any, length: int, axis: str) -> range:
    if isinstance(item, slice):
        if item.step not in (None, 1):
            raise VolumeError(
                f"A volume is read in whole boxes, so a slice has no step; found {item.step} along {axis}. Read the"
                f" box, and take every {item.step}th voxel of the array."
            )
        start, stop, _ = item.indices(length)
        return range(start, max(start, stop))
    if isinstance(item, int | np.integer) and not isinstance(item, bool):
        index = int(item) + (length if item < 0 else 0)
        if not 0 <= index < length:
            raise IndexError(f"The volume has {length} voxels along {axis}; found index {item}.")
        return range(index, index + 1)
    raise VolumeError(
        f"A volume is indexed by integers and slices; found {item!r} along {axis}. Read a box, and index the array."
    )


def _check_fits(size: int, path: str) -> None:
    import psutil

    free = psutil.virtual_memory().available
    if size > free:
        raise VolumeError(
            f"This part of {path} takes {in_bytes(size)} in memory, of which {in_bytes(free)} are free. Read a smaller"
            " box."
        )
