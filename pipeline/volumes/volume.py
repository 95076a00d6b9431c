"""Opening, making, reading and writing volumes."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import VolumeError
from ..geometry import BlockGrid, Box, Triple, triple
from .metadata import (
    SPATIAL,
    Frame,
    affinity_offsets,
    axis_letters,
    multiscales,
    ome_attributes,
    ome_frame,
    plain_frame,
)
from .spec import VolumeSpec, nanometres
from .stores import Found, Place, context, look, missing, storage_error

LEVEL = "0"  # the full resolution of an OME-Zarr image that we write
IDENTITY_FILES = 10_000  # files looked at, at most, to notice a rewritten volume
FAILURES = (ValueError, OSError, RuntimeError, IndexError, NotImplementedError)  # what TensorStore raises


class Volume:
    """An open volume. Made by `open_volume` and `create_volume`; boxes are in voxels from the volume's own origin.

    Attributes:
        path: where it lies: an absolute path, or a URL.
        spec: shape, type, voxel size and the rest.
    """

    def __init__(self, path: str, spec: VolumeSpec, store: Any, found: Found, *, writable: bool) -> None:
        self.path = path
        self.spec = spec
        self._store = store
        self._found = found
        self._writable = writable

    def __repr__(self) -> str:
        return f"Volume({self.path!r}, {self.spec.dtype} {self.spec.array_shape}, {self.spec.voxel_size} nm)"

    def read(self, box: Box, channels: slice | None = None) -> np.ndarray:
        """The voxels of a box: (Z, Y, X), or (C, Z, Y, X) where the volume has channels. A new array.

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
            return np.asarray(self._store[where].read(order="C").result())
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
        try:
            for unit in _units(box, self.spec.write_unit):
                where = (..., *unit.slices())
                self._store[where].write(array[(..., *unit.slices(box.start))]).result()
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
        """A hash that changes when the volume is replaced or rewritten, without reading a voxel.

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


def open_volume(
    path: str | Path,
    *,
    writable: bool = False,
    voxel_size: Sequence[float] | None = None,
    axes: str | None = None,
    offsets: Sequence[Sequence[int]] | None = None,
) -> Volume:
    """Open a volume: zarr v2 or v3, N5, neuroglancer precomputed, or an OME-NGFF group (its full resolution).

    The array is presented in Z, Y, X (or C, Z, Y, X) from voxel (0, 0, 0), whatever the order in storage. Channel
    and time axes of length 1 are dropped unless the metadata says that the channels are affinities.

    Args:
        path: a path, or a URL with s3://, gs://, http(s):// or file://; of an array, or of a group.
        writable: also allow `write`.
        voxel_size: nm, z y x, instead of what the metadata says.
        axes: the array's axes in its own order, such as "xyz", instead of what the metadata says.
        offsets: of affinities, (z, y, x) a channel, instead of what the metadata says.

    Raises:
        VolumeError: nothing is there, or its axes, voxel size or type are missing or cannot be used.
        StorageError: the storage failed.
    """
    place = Place.of(path)
    found, group, level = _find_array(place)
    given = (voxel_size and nanometres(voxel_size), axes, offsets and tuple(triple(o) for o in offsets))
    key = json.dumps([found.stamps, group and [group.documents, level], given], sort_keys=True)
    return _opened(place.path, writable, _Key(key, found, group, level, given))


class _Key:
    """What an opened volume depends on, compared by its text."""

    def __init__(self, text: str, found: Found, group: Found | None, level: str, given: Any) -> None:
        self.text, self.found, self.group, self.level, self.given = text, found, group, level, given

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Key) and self.text == other.text

    def __hash__(self) -> int:
        return hash(self.text)


def _find_array(place: Place) -> tuple[Found, Found | None, str]:
    """The array that a path means, the OME-NGFF group that it belongs to (if any), and its level in that group."""
    found = look(place)
    if found.array_format is None:
        if not found.is_group:
            raise missing(place)
        image = multiscales(found.attributes)
        level = str(image["datasets"][0]["path"]) if image else "s0"
        inner = look(place / level)
        if inner.array_format is None:
            raise VolumeError(
                f"{place.path} is a group and says of no array which one is meant (no OME multiscales, no s0). "
                f"Name one of its arrays: {place.path}/…"
            )
        return inner, found, level
    above, level = place, ""
    for _ in range(2):  # an array opened by its own path gets its axes and voxel size from the group above
        above, level = above.parent, f"{above.path.rpartition('/')[2]}/{level}".strip("/")
        group = look(above)
        image = multiscales(group.attributes)
        if image and any(str(d.get("path", "")).strip("/") == level for d in image["datasets"]):
            return found, group, level
    return found, None, ""


@lru_cache(maxsize=64)
def _opened(path: str, writable: bool, key: _Key) -> Volume:
    import tensorstore as ts

    found, group = key.found, key.group
    spec = {"driver": found.array_format, "kvstore": found.place.kvstore}
    try:
        store = ts.open(spec, open=True, read=True, write=writable, context=context()).result()
    except FAILURES as error:
        if "UNIMPLEMENTED" in str(error) or "INVALID_ARGUMENT" in str(error):
            raise VolumeError(f"{path} cannot be opened: {str(error).partition(' [')[0]}.") from error
        raise storage_error(error, "open", path) from error
    frame = _frame(found, group, key.level, store)
    size, axes, offsets = key.given
    if axes is not None:
        frame = Frame(axis_letters(list(axes)), frame.size, frame.translation)
    if offsets is None:
        offsets = affinity_offsets(found.attributes, path) or (group and affinity_offsets(group.attributes, path))
    ours = any("petavox" in f.attributes for f in (found, group) if f)
    store, channels = _normalise(store, frame.axes, path, keep_channel=ours or offsets is not None)
    size = size or _three(frame.size)
    if size is None:
        raise VolumeError(
            f"{path} does not say its voxel size (with units). Give it: open_volume(…, voxel_size=(z, y, x)) in nm, "
            f"or petavox convert {path} DST.zarr --voxel-size z,y,x"
        )
    return Volume(path, _spec(store, channels, size, frame, offsets), store, found, writable=writable)


def _frame(found: Found, group: Found | None, level: str, store: Any) -> Frame:
    for source in (group, found):
        image = multiscales(source.attributes) if source else None
        frame = ome_frame(image, level, found.place.path) if image else None
        if frame:
            return frame
    return plain_frame(found, store)


def _three(lengths: Any) -> tuple[float, float, float] | None:
    return nanometres([lengths[n] for n in SPATIAL]) if all(n in lengths for n in SPATIAL) else None


def _normalise(store: Any, axes: tuple[str, ...], path: str, *, keep_channel: bool) -> tuple[Any, int | None]:
    """A view in (C,) Z, Y, X from 0, and how many channels it has (None: no such axis)."""
    import tensorstore as ts

    lengths = dict(zip(axes, store.shape, strict=False))
    extra = [n for n in axes if n not in SPATIAL]
    dropped = [n for n in extra if lengths[n] == 1 and not (n == "c" and keep_channel)]
    left = [n for n in extra if n not in dropped]
    if (
        len(axes) != store.rank
        or len(set(axes)) != len(axes)
        or not set(SPATIAL) <= set(axes)
        or left not in ([], ["c"])
    ):
        found = ", ".join(f"{n}={size}" for n, size in zip(axes or ("?",) * store.rank, store.shape, strict=False))
        raise VolumeError(
            f"A volume has the axes z, y, x, or c, z, y, x; {path} has {found} (shape {tuple(store.shape)}). "
            f"If these are misnamed, give them in the array's order, as with: petavox convert … --axes zyx"
        )
    order = [axes.index(n) for n in (*dropped, *left, *SPATIAL)]
    view = store[ts.d[order].transpose[:]]
    for _ in dropped:
        view = view[view.domain.origin[0]]
    return view[ts.d[:].translate_to[0]], lengths["c"] if left else None


def _spec(store: Any, channels: int | None, size: Any, frame: Frame, offsets: Any) -> VolumeSpec:
    layout = store.chunk_layout
    chunk, shard = triple(layout.read_chunk.shape[-3:]), triple(layout.write_chunk.shape[-3:])
    fill = store.fill_value
    return VolumeSpec(
        shape=triple(store.shape[-3:]),
        dtype=store.dtype.name,
        voxel_size=size,
        translation=_three(frame.translation) or (0.0, 0.0, 0.0),
        channels=channels,
        offsets=offsets,
        chunk=chunk,
        shard=shard,
        fill_value=0 if fill is None else np.asarray(fill).item(),
    )


def create_volume(path: str | Path, spec: VolumeSpec) -> Volume:
    """Make an OME-Zarr 0.5 image (zarr v3, zstd, sharded if the spec has shards) with one level, `0`.

    Where a volume of the very same spec lies already, it is opened and kept: making a volume is repeatable.

    Raises:
        VolumeError: something else lies there.
        StorageError: the storage refused.
    """
    import tensorstore as ts

    place = Place.of(path)
    found = look(place)
    if found.documents:
        volume = open_volume(path, writable=True)
        different = volume.spec.differences(spec)
        if different:
            raise VolumeError(
                f"{place.path} exists and is another volume (there / asked for: {'; '.join(different)}). "
                f"Choose another path, or delete it first."
            )
        return volume
    if place.is_local and Path(place.path).exists() and {p.name for p in Path(place.path).iterdir()} - {LEVEL}:
        raise VolumeError(f"{place.path} exists and is not a volume. Choose another path, or delete it first.")
    array = {"driver": "zarr3", "kvstore": (place / LEVEL).kvstore, "metadata": _zarr_metadata(spec)}
    group = {
        "zarr_format": 3,
        "node_type": "group",
        "attributes": ome_attributes(spec, place.path.rpartition("/")[2].partition(".")[0]),
    }
    try:
        ts.open(array, open=True, create=True, context=context()).result()
        # The group's document comes last: without it there is no volume, whenever this is interrupted.
        place.open().write("zarr.json", json.dumps(group, indent=2, ensure_ascii=False).encode()).result()
    except FAILURES as error:
        raise storage_error(error, "create", place.path) from error
    return open_volume(path, writable=True)


def _zarr_metadata(spec: VolumeSpec) -> dict[str, Any]:
    names = ["c", *SPATIAL] if spec.channels is not None else list(SPATIAL)
    # Channels are stored apart, so that the nearest neighbours can be read without the rest; a shard holds them all.
    chunk = [1, *spec.chunk] if spec.channels is not None else list(spec.chunk)
    codecs: list[dict[str, Any]] = [
        {"name": "bytes", "configuration": {"endian": "little"}},
        {"name": "zstd", "configuration": {"level": 1, "checksum": False}},
        {"name": "crc32c"},
    ]
    unit = chunk
    if spec.shard is not None:
        unit = [spec.channels, *spec.shard] if spec.channels is not None else list(spec.shard)
        index = [{"name": "bytes", "configuration": {"endian": "little"}}, {"name": "crc32c"}]
        sharding = {"chunk_shape": chunk, "codecs": codecs, "index_codecs": index, "index_location": "end"}
        codecs = [{"name": "sharding_indexed", "configuration": sharding}]
    return {
        "shape": list(spec.array_shape),
        "data_type": spec.dtype,
        "fill_value": np.dtype(spec.dtype).type(spec.fill_value).item(),
        "dimension_names": names,
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": unit}},
        "codecs": codecs,
    }


def check_same_frame(a: Volume, b: Volume) -> None:
    """Make sure that two volumes have the same voxels in the same places.

    Raises:
        VolumeError: shape, voxel size or translation differ; the message names both.
    """
    for name, unit in (("shape", "voxels"), ("voxel_size", "nm"), ("translation", "nm")):
        mine, theirs = getattr(a.spec, name), getattr(b.spec, name)
        if not np.allclose(mine, theirs, rtol=1e-6, atol=1e-6):
            raise VolumeError(
                f"Two volumes that go together differ in {name.replace('_', ' ')} (z, y, x): "
                f"{a.path} has {mine} {unit}, {b.path} has {theirs} {unit}. Convert one of them, or correct its metadata."
            )
