"""Finding the array that a path means, and presenting it in Z, Y, X and nanometres."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from ..errors import StorageError, VolumeError
from ..geometry import Triple, triple
from .metadata import SPATIAL, Frame, affinity_offsets, arrange, axis_letters, multiscales, ome_frame, plain_frame
from .spec import Nanometres, VolumeSpec, nanometres
from .stores import FAILURES, THREADS, Found, Place, context, look, missing, reason, storage_error
from .volume import Volume


def open_volume(
    path: str | Path,
    *,
    writable: bool = False,
    voxel_size: Sequence[float] | None = None,
    axes: str | None = None,
    offsets: Sequence[Sequence[int]] | None = None,
    channel: int | None = None,
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
        channel: the one that is presented, from 0, of an array with several.
        threads: that decode and encode chunks; all volumes of a process that are opened with as many share them.

    Raises:
        VolumeError: nothing is there, or its axes, voxel size or type are missing or cannot be used.
        StorageError: the storage failed.
    """
    place = Place.of(path)
    array, group, level = _find_array(place)
    store = _open_store(array, writable=writable, threads=threads)
    try:
        frame = _frame(array, group, level, store)
    except (KeyError, TypeError, ValueError) as error:
        raise VolumeError(f"The metadata of {place.path} cannot be understood: {error!r}.") from error
    if axes is not None:
        frame = Frame(axis_letters(list(axes)), frame.size, frame.translation)
    sources = [source.attributes for source in (array, group) if source]
    known_offsets = (
        tuple(triple(o) for o in offsets)
        if offsets is not None
        else next((o for o in (affinity_offsets(s, place.path) for s in sources) if o), None)
    )
    keep_channel = known_offsets is not None or channel is not None or any("petavox" in s for s in sources)
    view = _normalise(store, frame.axes, place.path, keep_channel=keep_channel)
    if channel is not None:
        view, known_offsets = _one_channel(view, channel, place.path), None
    size = nanometres(voxel_size) if voxel_size is not None else _three(frame.size)
    if size is None:
        raise VolumeError(
            f"{place.path} does not say its voxel size, or not its unit. Say it in nm (z, y, x): in a recipe, beside "
            f"the path, voxel_size = [30, 6, 6]; or in a copy: petavox convert {place.path} NEW.zarr "
            "--voxel-size 30,6,6"
        )
    translation = _three(frame.translation) or (0.0, 0.0, 0.0)
    spec = _spec(view, size, translation, known_offsets)
    return Volume(place.path, spec, view, array, writable=writable)


def _find_array(place: Place) -> tuple[Found, Found | None, str]:
    """The array that a path means, the OME-NGFF group that it belongs to (if any), and its level in that group."""
    found = look(place)
    if found.array_format is not None:
        return found, *_group_above(place)
    if not found.is_group:
        return _scale(place) or _raise(missing(place))
    image = multiscales(found.attributes)
    level = str(image["datasets"][0]["path"]).strip("/") if image else "s0"
    inner = look(place / level)
    if inner.array_format is None:
        meant = f"its level {level} is missing" if image else "it is not an OME-NGFF image and has no array s0"
        raise VolumeError(f"{place.path} is a group, but {meant}. Name one of its arrays: {place.path}/…")
    return inner, found, level


def _raise(error: VolumeError) -> NoReturn:
    raise error


def _scale(place: Place) -> tuple[Found, None, str] | None:
    """A precomputed volume at the scale whose folder is named, as in em/12_12_30."""
    found = look(place.parent) if place.parent is not None else None
    if found is None or place.name not in found.scales:
        return None
    return replace(found, scale=place.name), None, ""


def _group_above(place: Place) -> tuple[Found | None, str]:
    """An array opened by its own path has its axes and voxel size in the OME-NGFF group one or two folders above."""
    level, above = "", place
    for _ in range(2):
        level, parent = f"{above.name}/{level}".strip("/"), above.parent
        if parent is None:
            break
        above = parent
        try:
            group = look(above)
        except StorageError:  # the folder above may be closed to us; the array is not
            break
        image = multiscales(group.attributes)
        if image and any(str(d.get("path", "")).strip("/") == level for d in image["datasets"]):
            return group, level
    return None, ""


def _open_store(found: Found, *, writable: bool, threads: int) -> Any:
    import tensorstore as ts

    level = {} if found.scale is None else {"scale_metadata": {"key": found.scale}}
    spec = {"driver": found.array_format, "kvstore": found.place.kvstore, **level}
    try:
        return ts.open(spec, open=True, read=True, write=writable, context=context(threads)).result()
    except FAILURES as error:
        said = reason(error)
        if said.startswith(("UNIMPLEMENTED", "INVALID_ARGUMENT", "FAILED_PRECONDITION")):
            raise VolumeError(f"{found.place.path} cannot be opened: {said}.") from error
        raise storage_error(error, "open", found.place.path) from error


def _frame(array: Found, group: Found | None, level: str, store: Any) -> Frame:
    image = multiscales(group.attributes) if group else None
    return (image and ome_frame(image, level, array.place.path)) or plain_frame(array, store)


def _three(lengths: Mapping[str, float]) -> Nanometres | None:
    return nanometres([lengths[n] for n in SPATIAL]) if all(n in lengths for n in SPATIAL) else None


def _normalise(store: Any, axes: tuple[str, ...], path: str, *, keep_channel: bool) -> Any:
    """A view in (C,) Z, Y, X, from 0."""
    import tensorstore as ts

    order, dropped = arrange(axes, store.shape, path, keep_channel=keep_channel)
    view = store[ts.d[order].transpose[:]]
    for _ in range(dropped):
        view = view[view.domain.origin[0]]
    return view[ts.d[:].translate_to[0]]


def _one_channel(view: Any, channel: int, path: str) -> Any:
    channels = view.shape[0] if view.rank == 4 else 0
    if not 0 <= channel < channels:
        raise VolumeError(
            f"Cannot take number {channel} of the channels of {path}: it has {channels or 'no'} channels, counted "
            "from 0."
        )
    return view[channel]


def _spec(view: Any, size: Nanometres, translation: Nanometres, offsets: tuple[Triple, ...] | None) -> VolumeSpec:
    fill = view.fill_value
    return VolumeSpec(
        shape=triple(view.shape[-3:]),
        dtype=view.dtype.name,
        voxel_size=size,
        translation=translation,
        channels=view.shape[0] if view.rank == 4 else None,
        offsets=offsets,
        chunk=triple(view.chunk_layout.read_chunk.shape[-3:]),
        shard=triple(view.chunk_layout.write_chunk.shape[-3:]),
        fill_value=0 if fill is None else np.asarray(fill).item(),
    )
