"""From the metadata found at a place to an open array: by TensorStore, with the names that chunks really have."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import VolumeError
from ..locations import FAILURES, THREADS, Document, context, reason, storage_error
from .arrays import Opened, TensorStoreArray
from .chunk_files import PRECOMPUTED, chunk_names, packings_of, styles_of, without_packing
from .metadata import numbers
from .n5 import ARRAY_KEYS
from .packed import ChunkName, is_gzip, packed_array
from .stores import Found
from .units import nanometres_of
from .zarr_python import codecs_of, read_by_zarr_python, unsafe_codecs

_NEEDED = {
    "zarr": ("shape", "chunks", "dtype", "compressor", "order"),
    "zarr3": ("shape", "data_type", "chunk_grid", "chunk_key_encoding", "fill_value", "codecs"),
    "n5": ("dimensions", "blockSize", "dataType"),
}
"""Metadata that an array has."""
OTHER_CODECS = "Write it anew with codecs that can be read, such as zstd, gzip or blosc"


def open_array(found: Found, *, writable: bool, threads: int = THREADS) -> Opened:
    """Open the array whose metadata was found.

    Chunks of a local zarr array are looked for under the names that they really have; arrays whose codecs TensorStore
    lacks are read by zarr-python; whole files that were compressed once more are unpacked.

    Raises:
        VolumeError: its format, type or codecs cannot be read.
        StorageError: the storage failed.
    """
    opened = _OPENERS[str(found.array_format)]
    try:
        return opened(found, writable, threads)
    except FAILURES as error:
        said = reason(error)
        if said.startswith(("UNIMPLEMENTED", "INVALID_ARGUMENT", "FAILED_PRECONDITION", "Error parsing")):
            raise VolumeError(f"{found.place.path} cannot be opened: {said}. {_cure(found, said)}") from error
        raise storage_error(error, "open", found.place.path) from error


def _cure(found: Found, said: str) -> str:
    if any(f'"{member}"' in said for member in ("dtype", "data_type", "dataType")):
        return "Voxels are booleans, integers or floats: name another array."
    codecs = codecs_of(found.array_document)
    named = f" (it has {', '.join(codecs)})" if codecs else ""
    return f"{OTHER_CODECS}{named}: with the program that made it, or with zarr-python."


def _open(found: Found, writable: bool, threads: int, **more: Any) -> Any:
    import tensorstore as ts

    if "metadata" in more:
        _check_complete(found, more["metadata"])
    spec = {"driver": found.array_format, "kvstore": found.place.kvstore, **more}
    mode: dict[str, Any] = {} if more.get("assume_metadata") else {"open": True, "read": True, "write": writable}
    return ts.open(spec, context=context(threads), **mode).result()


def _check_complete(found: Found, metadata: Document) -> None:
    """Make sure that TensorStore has nothing to assume of its own.

    Raises:
        VolumeError: the metadata of an array lacks something.
    """
    missing = [key for key in _NEEDED[str(found.array_format)] if key not in metadata]
    if missing:
        raise VolumeError(f"The metadata of {found.place.path} lacks {', '.join(missing)}: it is damaged. Restore it.")


def _described(store: Any, remarks: tuple[str, ...] = ()) -> Opened:
    """An array with the axes, units and origin that TensorStore has of it."""
    units = tuple(_in_nm(unit) for unit in store.dimension_units)
    return Opened(TensorStoreArray(store), tuple(store.domain.labels), units, tuple(store.domain.origin), remarks)


def _in_nm(unit: Any) -> float | None:
    nm = None if unit is None else nanometres_of(unit.base_unit)
    return None if nm is None else float(unit.multiplier * nm)


# --- zarr -----------------------------------------------------------------------------------------------------------


def _open_zarr(found: Found, writable: bool, threads: int) -> Opened:
    document = found.array_document
    more: dict[str, Any] = {}
    remarks: tuple[str, ...] = ()
    if found.place.is_local and not writable:
        rank = len(numbers(document.get("shape")) or ())
        names = chunk_names(Path(found.place.path), rank + 1)
        style, remarks = _lying_style(found, styles_of(names, rank))
        if packings_of(names):
            return _packed_zarr(found, style, packings_of(names))
        if style != _stated_style(document):
            more = {"metadata": _renamed(document, style), "assume_metadata": True}
    try:
        return _described(_open(found, writable, threads, **more), remarks)
    except FAILURES as error:
        if writable or not found.place.is_local:
            raise
        return _by_zarr_python(found, error)


def _by_zarr_python(found: Found, error: Exception) -> Opened:
    """An array that TensorStore cannot read, for reasons that are said if zarr-python cannot do it either."""
    document = found.array_document
    unsafe = unsafe_codecs(document)
    if unsafe:
        named = ", ".join(unsafe)
        raise VolumeError(f"{found.place.path} has codecs that are not read: {named}. {OTHER_CODECS}.") from error
    try:
        return read_by_zarr_python(Path(found.place.path), codecs_of(document))
    except Exception:
        raise error from None


def _lying_style(found: Found, lying: set[str]) -> tuple[str, tuple[str, ...]]:
    """The style in which chunks are named in their folder, or else by the metadata, and what to say of that."""
    stated = _stated_style(found.array_document)
    others = sorted(lying - {stated})
    if not others:
        return stated, ()
    if stated in lying:
        left = ", ".join(others)
        return stated, (f"Some of its chunks are named {left} where its metadata says {stated}; they are not read",)
    if len(others) > 1:
        raise VolumeError(
            f"The chunks of an array are named in one way; those of {found.place.path} are named like "
            f"{' and '.join(others)}, and its metadata says {stated}. Move the ones apart that do not belong to it."
        )
    return others[0], (f"Its metadata says that chunks are named {stated}; they are named, and read as, {others[0]}",)


def _stated_style(document: Document) -> str:
    """The style of chunks' names by the metadata."""
    if document.get("zarr_format") != 3:
        return "0/0" if document.get("dimension_separator") == "/" else "0.0"
    encoding = document.get("chunk_key_encoding")
    encoding = encoding if isinstance(encoding, dict) else {}
    settings = encoding.get("configuration")
    separator = settings.get("separator") if isinstance(settings, dict) else None
    default = encoding.get("name", "default") == "default"
    return ("c/0/0" if separator in (None, "/") else "c.0.0") if default else ("0/0" if separator == "/" else "0.0")


def _renamed(document: Document, style: str) -> Document:
    """The metadata with another style of chunks' names."""
    separator = "/" if "/" in style else "."
    if document.get("zarr_format") != 3:
        return {**document, "dimension_separator": separator}
    name = "default" if style.startswith("c") else "v2"
    kept = {k: v for k, v in document.items() if k not in ("storage_transformers", "consolidated_metadata")}
    return {**kept, "chunk_key_encoding": {"name": name, "configuration": {"separator": separator}}}


def _packed_zarr(found: Found, style: str, packings: set[str]) -> Opened:
    document = found.array_document
    separator, prefix = ("/" if "/" in style else "."), ("c" if style.startswith("c") else "")

    def name(index: tuple[int, ...]) -> str:
        return separator.join([*([prefix] if prefix else []), *map(str, index)])

    file = "zarr.json" if document.get("zarr_format") == 3 else ".zarray"
    spec = {"driver": found.array_format}
    array = packed_array(Path(found.place.path), spec, {file: _renamed(document, style)}, name)
    return Opened(array, remarks=(_packed(packings),))


def _packed(packings: set[str]) -> str:
    kinds = ", ".join(sorted(packings)) or "gzip under their own names"
    return f"Its chunks lie packed as whole files ({kinds}); unpacking them takes longer"


# --- N5 -------------------------------------------------------------------------------------------------------------


def _open_n5(found: Found, writable: bool, threads: int) -> Opened:
    # Attributes of users under names that TensorStore knows, too, must not keep it from opening the array.
    document = found.array_document
    plain = {key: document[key] for key in ARRAY_KEYS if key in document}
    if not {"compression", "compressionType"} & set(plain):
        raise VolumeError(f"The metadata of {found.place.path} lacks compression: it is damaged. Restore it.")
    rank = len(numbers(document.get("dimensions")) or ())
    packings = packings_of(chunk_names(Path(found.place.path), rank)) if found.place.is_local else set()
    if packings and not writable:
        name: ChunkName = lambda index: "/".join(map(str, index))  # noqa: E731
        array = packed_array(Path(found.place.path), {"driver": "n5"}, {"attributes.json": plain}, name)
        return Opened(array, remarks=(_packed(packings),))
    return Opened(TensorStoreArray(_open(found, writable, threads, metadata=plain, assume_metadata=True)))


# --- precomputed ----------------------------------------------------------------------------------------------------


def _open_precomputed(found: Found, writable: bool, threads: int) -> Opened:
    level = {} if found.scale is None else {"scale_metadata": {"key": found.scale}}
    store = _open(found, writable, threads, **level)
    described = _described(store)
    scale = _scale(found.documents["info"], found.scale)
    key = str(scale.get("key", ""))
    if not found.place.is_local or writable or "sharding" in scale or ".." in key.split("/"):
        return described
    folder = Path(found.place.path, key)
    names = [name for name in chunk_names(folder, 1) if PRECOMPUTED.fullmatch(without_packing(name)[0])]
    packings = packings_of(names)
    if not packings and not _are_gzipped([folder / name for name in names[:3]], scale):
        return described
    name = _precomputed_name(key, store)
    spec = {"driver": "neuroglancer_precomputed", "scale_metadata": {"key": key}}
    array = packed_array(Path(found.place.path), spec, {"info": found.documents["info"]}, name)
    return Opened(array, described.labels, described.units, described.origin, (_packed(packings),))


def _scale(info: Document, key: str | None) -> Mapping[str, Any]:
    scales = [scale for scale in info["scales"] if isinstance(scale, dict)]
    return next((scale for scale in scales if key is None or scale.get("key") == key), {})


def _precomputed_name(key: str, store: Any) -> ChunkName:
    origin, end = store.domain.origin[:3], store.domain.exclusive_max[:3]
    unit = store.chunk_layout.read_chunk.shape[:3]

    def name(index: tuple[int, ...]) -> str:
        spans = []
        for i, first, last, length in zip(index, origin, end, unit, strict=False):
            start = first + i * length
            spans.append(f"{start}-{min(start + length, last)}")
        return f"{key}/{'_'.join(spans)}"

    return name


def _are_gzipped(chunks: list[Path], scale: Mapping[str, Any]) -> bool:
    """Tells whether chunks are gzip files under their own names, as a copy out of a bucket leaves them."""
    starts = []
    for path in chunks:
        with path.open("rb") as file:
            starts.append(file.read(3))
    return scale.get("encoding") != "jpeg" and bool(starts) and all(is_gzip(start) for start in starts)


_OPENERS = {
    "zarr": _open_zarr,
    "zarr3": _open_zarr,
    "n5": _open_n5,
    "neuroglancer_precomputed": _open_precomputed,
}
