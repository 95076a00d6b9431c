"""Finding the array that a path means, and presenting it in Z, Y, X and nanometres."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ..errors import StorageError, VolumeError
from ..geometry import Triple, triple
from ..locations import THREADS, Document, Location
from .arrays import Opened, StoredArray
from .attributes import attribute_frame, named_axes, unnamed_axes
from .formats import open_array
from .listing import sentence
from .metadata import SPATIAL, Frame, affinity_offsets, arrange, axis_letters, impossible
from .n5 import n5_frame
from .ngff import finer_levels, images, levels, ome_frame
from .plausible import size_remarks
from .spec import DTYPES, Nanometres, VolumeSpec, nanometres
from .stores import Found, missing, read_documents
from .volume import Volume

LARGEST_CHUNK = 1 << 32
"""Bytes; more are taken for metadata that is damaged."""
_BYTES_OF = {name: np.dtype(name).itemsize for name in DTYPES}
_ABOVE = 2
"""Groups above an array that may say its voxel size."""


def open_volume(
    path: str | Path,
    *,
    writable: bool = False,
    voxel_size: Sequence[float] | None = None,
    axes: str | None = None,
    offsets: Sequence[Sequence[int]] | None = None,
    channel: int | None = None,
    time: int | None = None,
    threads: int = THREADS,
) -> Volume:
    """Open a volume: zarr v2 or v3, N5, neuroglancer precomputed, or an OME-NGFF group (its full resolution).

    The array is presented in Z, Y, X (or C, Z, Y, X) from voxel (0, 0, 0), whatever its order in storage. Channel
    and time axes of length 1 are dropped, unless the channels are affinities or the volume is one of ours. Opening
    takes about a millisecond on a local disk; chunks are cached by process, not by Volume.

    Args:
        path: a path, or a URL with s3://, gs://, http(s):// or file://; of an array, or of a group.
        writable: also allow `write`.
        voxel_size: nm, z y x, instead of what the metadata says.
        axes: the array's axes in its own order, one letter each, such as "xyz", instead of what the metadata says.
        offsets: of affinities, (z, y, x) a channel, instead of what the metadata says.
        channel, time: the one that is presented, from 0, of an array with several.
        threads: that decode and encode chunks; all volumes of a process that are opened with as many share them.

    Raises:
        VolumeError: nothing is there, or its axes, voxel size or type are missing or cannot be used.
        StorageError: the storage failed.
    """
    target = _find(Location.of(path))
    opened = open_array(target.array, writable=writable, threads=threads)
    _check_chunk(opened.array, target.named)
    named = None if axes is None else axis_letters(list(axes))
    frame, stated = _metadata(target, opened, named)
    if named is not None:
        frame = replace(frame, axes=named)
    known = tuple(triple(o) for o in offsets) if offsets is not None else stated
    keep_channel = known is not None or any("petavox" in found.attributes for found in target.documents)
    chosen = {name: index for name, index in (("c", channel), ("t", time)) if index is not None}
    order, indices = arrange(frame.axes, opened.array.shape, target.named, keep_channel=keep_channel, chosen=chosen)
    view = opened.array.arranged(order, indices)
    size = nanometres(voxel_size) if voxel_size is not None else frame.voxel_size
    if size is None:
        raise VolumeError(no_voxel_size(target.named, frame.doubt))
    spec = _spec(view, size, _translation(frame, opened, size), known if channel is None else None)
    of_frame = frame.remarks if voxel_size is None else ()
    remarks = (*target.remarks, *opened.remarks, *of_frame, *size_remarks(size))
    told = tuple(f"{target.named}: {remark}." for remark in remarks)
    return Volume(target.named, spec, view, target.array, writable=writable, remarks=told)


def _check_chunk(array: StoredArray, path: str) -> None:
    """Make sure that one chunk fits into memory before anything allocates it.

    Raises:
        VolumeError: it does not; its metadata is rather damaged than true.
    """
    nbytes = math.prod(array.chunk) * _BYTES_OF.get(array.dtype, 8)
    if nbytes > LARGEST_CHUNK:
        raise VolumeError(
            f"A chunk is read as a whole, and has {LARGEST_CHUNK} bytes at most; those of {path} are {array.chunk} and "
            f"have {nbytes}. Check its metadata, or write it anew with smaller chunks."
        )


def _metadata(target: _Target, opened: Opened, axes: tuple[str, ...] | None) -> tuple[Frame, tuple[Triple, ...] | None]:
    """The frame of an array and the offsets of its channels, if it has some, in its metadata."""
    where = target.array.place.path
    try:
        stated = (affinity_offsets(found.attributes, where) for found in target.documents)
        return _frame(target, opened, axes), next((offsets for offsets in stated if offsets), None)
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise VolumeError(f"The metadata of {where} cannot be understood: {error!r}.") from error


def no_voxel_size(path: str, doubt: str = "") -> str:
    """Returns the message that asks for a voxel size, with why what is there is none."""
    why = f" ({doubt})" if doubt else ""
    return (
        f"{path} does not say its voxel size, or not its unit{why}. Say it in nm (z, y, x): in a recipe, beside the "
        f"path, voxel_size = [30, 6, 6]; or in a copy: petavox convert {path} NEW.zarr --voxel-size 30,6,6"
    )


@dataclass(frozen=True)
class _Target:
    """The array that a path means.

    Args:
        named: the path, as a user gave it.
        array: its metadata.
        group: the OME-NGFF group that it belongs to, if any.
        level: its path in that group.
        above: metadata of the folders above it, the nearest first.
        remarks: what a user must be told of the choice.
    """

    named: str
    array: Found
    group: Found | None = None
    level: str = ""
    above: tuple[Found, ...] = ()
    remarks: tuple[str, ...] = ()

    @property
    def documents(self) -> tuple[Found, ...]:
        """The array's metadata and its image's."""
        return (self.array,) if self.group is None else (self.array, self.group)


def _find(place: Location) -> _Target:
    found = read_documents(place)
    if found.array_format is not None:
        return _with_groups(place, found)
    if not found.is_group:
        return _scale(place) or _raise(missing(place, sentence(Path(place.path)) if place.is_local else ""))
    of_group = images(found.attributes)
    level = levels(of_group[0])[0] if of_group else "s0"
    if ".." in level.split("/"):
        raise VolumeError(f"The levels of an image lie inside its group; {place.path} names {level}.")
    inner = read_documents(place / level)
    if inner.array_format is None:
        only = _only_image(found) if not of_group else None
        if only is not None:
            return replace(_find(place / only), named=place.path)
        raise VolumeError(_no_level(place, level if of_group else None))
    if of_group:
        remarks = (f"It has {len(of_group)} images, of which the first is read",) if len(of_group) > 1 else ()
        return _Target(place.path, inner, found, level, (), (*remarks, *finer_levels(of_group[0])))
    return replace(_with_groups(place / level, inner), named=place.path)


def _raise(error: VolumeError) -> _Target:
    raise error


def _no_level(place: Location, level: str | None) -> str:
    meant = "it is not an OME-NGFF image and has no array s0" if level is None else f"its level {level} is missing"
    named = sentence(Path(place.path)) if place.is_local else ""
    return f"{place.path} is a group, but {meant}.{named or f' Name one of its arrays: {place.path}/…'}"


def _only_image(found: Found) -> str | None:
    """The one image below the root of a bioformats2raw container; None where there are more of them, or none."""
    layout = found.attributes.get("bioformats2raw.layout")
    ome = found.attributes.get("ome")
    if layout is None and not (isinstance(ome, dict) and "bioformats2raw.layout" in ome):
        return None
    there = [name for name in ("0", "1") if images(read_documents(found.place / name).attributes)]
    return there[0] if len(there) == 1 else None


def _scale(place: Location) -> _Target | None:
    """A precomputed volume at the scale whose folder is named, as in em/12_12_30."""
    above = place.parent
    found = read_documents(above) if above is not None else None
    if found is None or place.name not in found.scales:
        return None
    return _Target(place.path, replace(found, scale=place.name))


def _with_groups(place: Location, found: Found) -> _Target:
    """An array opened by its own path has its axes and voxel size perhaps in a group one or two folders above."""
    level, here, above = "", place, []
    for _ in range(_ABOVE):
        level, parent = f"{here.name}/{level}".strip("/"), here.parent
        if parent is None:
            break
        here = parent
        try:
            group = read_documents(here)
        except (StorageError, VolumeError):  # the folder above may be closed to us, or be no group; the array is open
            break
        above.append(group)
        if any(level in levels(image) for image in images(group.attributes)):
            return _Target(place.path, found, group, level, tuple(above))
    return _Target(place.path, found, above=tuple(above))


def _frame(target: _Target, opened: Opened, axes: tuple[str, ...] | None) -> Frame:
    """Reads the frame in the metadata; where the user names the axes, numbers are read as those of these axes."""
    found, rank = target.array, len(opened.array.shape)
    for image in images(target.group.attributes) if target.group else []:
        frame = ome_frame(image, target.level, rank, axes)
        if frame is not None and (frame.axes or found.array_format != "n5"):
            return frame
    axes = _plain_axes(found, opened) if axes is None else axes
    size = {n: unit for n, unit in zip(axes, opened.units, strict=False) if n in SPATIAL and unit is not None}
    if len(size) == len(SPATIAL):  # precomputed, and zarr v3 written by TensorStore
        doubt = impossible(size)
        return Frame(axes, doubt=doubt) if doubt else Frame(axes, size)
    if found.array_format == "n5":
        above = [group.attributes for group in target.above]
        return n5_frame(axes, found.place.name, found.attributes, above, _first_level(found.place))
    frame = attribute_frame(axes, found.attributes)
    if frame.voxel_size is not None or frame.doubt or not target.above:
        return frame
    group = attribute_frame(axes, target.above[0].attributes)
    said = f"Its voxel size is that of its group {target.above[0].place.path}"
    return frame if group.voxel_size is None else replace(group, remarks=(said,))


def _first_level(place: Location) -> Document:
    """The attributes of level s0 beside a level of an N5 pyramid."""
    if place.parent is None or place.name == "s0" or not place.name.startswith("s"):
        return {}
    try:
        return read_documents(place.parent / "s0").attributes
    except (StorageError, VolumeError):
        return {}


def _plain_axes(found: Found, opened: Opened) -> tuple[str, ...]:
    rank = len(opened.array.shape)
    if opened.labels and all(opened.labels):
        return axis_letters(opened.labels)
    x_first = found.array_format == "n5"
    named = named_axes(found.attributes, rank, x_first=x_first)
    if named:
        return named
    return unnamed_axes(opened.array.shape[::-1])[::-1] if x_first else unnamed_axes(opened.array.shape)


def _translation(frame: Frame, opened: Opened, size: Nanometres) -> Nanometres:
    """Position of the first voxel in nm; where the format states it in voxels, it follows the voxel size in use."""
    if not any(opened.units):
        return frame.origin
    places = dict(zip(frame.axes, opened.origin, strict=False))
    return nanometres([places[n] * length for n, length in zip(SPATIAL, size, strict=True)])


def _spec(
    view: StoredArray, size: Nanometres, translation: Nanometres, offsets: tuple[Triple, ...] | None
) -> VolumeSpec:
    return VolumeSpec(
        shape=triple(view.shape[-3:]),
        dtype=view.dtype,
        voxel_size=size,
        translation=translation,
        channels=view.shape[0] if len(view.shape) == 4 else None,
        offsets=offsets,
        chunk=triple(view.chunk[-3:]),
        shard=triple(view.shard[-3:]),
        fill_value=view.fill_value,
    )
