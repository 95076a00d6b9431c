"""An array of an HDF5 file, behind whatever links, and what ilastik, Fiji, funlib and MATLAB write beside it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from ...pipeline.errors import RequestError, VolumeError
from ...pipeline.volumes.arrays import ReadArray
from ...pipeline.volumes.attributes import attribute_frame, named_axes, unnamed_axes
from ...pipeline.volumes.metadata import axis_letters
from .options import SourceOptions
from .stack import Content

_MOST_LISTED = 20
_DEEPEST = 32
_FILTERS = {32000: "LZF", 32001: "Blosc", 32004: "LZ4", 32008: "bitshuffle", 32013: "ZFP", 32015: "Zstandard"}


@contextmanager
def open_hdf5(path: Path, options: SourceOptions) -> Iterator[Content]:
    """Open a dataset as an array.

    Raises:
        VolumeError: the file is damaged or locked, or nothing says which dataset is meant, or it has no voxels that
            can be read.
        RequestError: h5py is not installed.
    """
    with _opened(path) as file:
        try:
            content = _content(file, path, options)
        except VolumeError:
            raise
        except Exception as error:  # of damaged files, h5py raises anything
            why = f"{error or type(error).__name__}".partition("\n")[0]
            raise VolumeError(f"{path} cannot be read: {why}. It is damaged: copy it again.") from error
        yield content


def _content(file: Any, path: Path, options: SourceOptions) -> Content:
    name, dataset = _chosen(file, path, options.dataset)
    _check_readable(dataset, f"{path}:{name}")
    attributes = {key: plain(dataset.attrs.get(key)) for key in _attribute_names(dataset)}
    shape = tuple(int(n) for n in dataset.shape)
    axes = axis_letters(list(options.axes)) if options.axes is not None else _axes(dataset, attributes, shape)
    dtype = np.dtype(dataset.dtype).newbyteorder("=")
    chunk = tuple(dataset.chunks or shape)
    array = ReadArray(shape, dtype.name, 0, chunk, chunk, lambda where: np.asarray(dataset[where]))
    return Content(array, axes, attribute_frame(axes, attributes), attributes, remarks=_blank(dataset))


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    try:
        import h5py
    except ImportError as error:
        raise RequestError("Reading HDF5 needs h5py, which is not installed: pip install h5py") from error
    _register_filters()
    try:
        file = h5py.File(path, "r")
    except (OSError, RuntimeError) as error:
        said = str(error)
        if "unable to lock" in said:
            raise VolumeError(
                f"{path} is locked: another program has it open for writing, or its disk has no locks. Close the other "
                "program; if there is none, set HDF5_USE_FILE_LOCKING=FALSE and run again."
            ) from error
        raise VolumeError(f"{path} is not an HDF5 file that can be read: {said}. Copy or export it again.") from error
    with file:
        yield file


def _register_filters() -> None:
    """Make known the filters that hdf5plugin brings, where it is installed."""
    import contextlib

    with contextlib.suppress(ImportError):
        import hdf5plugin  # type: ignore[import-not-found]  # noqa: F401


def is_hdf5(path: Path) -> bool:
    """Tells HDF5 files by their signature, which may lie behind a user's block of 512, 1024, 2048 … bytes."""
    size, offset = path.stat().st_size, 0
    with path.open("rb") as file:
        while offset < min(size, 1 << 24):
            file.seek(offset)
            if file.read(8) == b"\x89HDF\r\n\x1a\n":
                return True
            offset = max(512, 2 * offset)
    return False


def plain(value: Any) -> Any:
    """Returns an attribute of HDF5 as JSON would have it."""
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    if isinstance(value, np.ndarray):
        return [plain(v) for v in value.tolist()] if value.ndim else plain(value.item())
    return plain(value.item()) if isinstance(value, np.generic) else value


def _attribute_names(dataset: Any) -> list[str]:
    return [name for name in dataset.attrs if name not in ("DIMENSION_LIST", "REFERENCE_LIST", "CLASS")]


def _axes(dataset: Any, attributes: dict[str, Any], shape: tuple[int, ...]) -> tuple[str, ...]:
    labels = tuple(str(dimension.label) for dimension in dataset.dims)
    if labels and all(labels):
        return axis_letters(labels)
    named = named_axes(attributes, len(shape))
    if named:
        return named
    if "MATLAB_class" in attributes:
        raise VolumeError(
            f"MATLAB stores axes in reverse: its array (y, x, z) is z, x, y in {dataset.file.filename}. Say which are "
            f"the axes of {dataset.name} {shape}, for example: --axes zxy"
        )
    return unnamed_axes(shape)


def _check_readable(dataset: Any, where: str) -> None:
    """Make sure that all of a dataset is there and can be decoded.

    Raises:
        VolumeError: its type is none of numbers, or filters or files are missing.
    """
    import h5py

    dtype = np.dtype(dataset.dtype)
    if dataset.shape is None or dtype.kind not in "biuf":
        raise VolumeError(
            f"Voxels must be booleans, integers or floats; {where} holds {dtype.name}. Name another dataset."
        )
    properties = dataset.id.get_create_plist()
    filters = [properties.get_filter(number) for number in range(properties.get_nfilters())]
    _check_chunks(dataset, {code for code, *_ in filters}, where)
    for code, _, _, name in filters:
        if not h5py.h5z.filter_avail(code):
            known = _FILTERS.get(code, name.decode(errors="replace") or "unknown")
            raise VolumeError(
                f"{where} is compressed with the filter {code} ({known}), which is not installed: pip install "
                "hdf5plugin, or write it anew with gzip (h5repack -f GZIP=4)."
            )
    missing = sorted(set(_missing_files(dataset)))
    if missing:
        raise VolumeError(
            f"{where} has its voxels in other files, which are not there: {', '.join(missing[:5])}. Bring them back."
        )


def _check_chunks(dataset: Any, filters: set[int], where: str) -> None:
    """Make sure that chunks that are not compressed have their size; of short ones HDF5 reads what memory holds.

    Raises:
        VolumeError: some have not.
    """
    import h5py

    if dataset.chunks is None or not filters <= {h5py.h5z.FILTER_SHUFFLE, h5py.h5z.FILTER_FLETCHER32}:
        return
    checksum = 4 if h5py.h5z.FILTER_FLETCHER32 in filters else 0
    whole = math.prod(dataset.chunks) * np.dtype(dataset.dtype).itemsize + checksum
    if dataset.id.get_storage_size() != dataset.id.get_num_chunks() * whole:
        raise VolumeError(
            f"The chunks of {where} have another size than its metadata says: it is damaged. Copy it again."
        )


def _missing_files(dataset: Any) -> Iterator[str]:
    """Lists files that external and virtual datasets need and do not find; HDF5 would read fill values instead."""
    import h5py

    folder = Path(dataset.file.filename).parent
    for name, _, _ in dataset.external or ():
        if not Path(name).exists():  # HDF5 looks where we are
            yield f"{name} (looked for in {Path.cwd()}: change to {folder} first)"
    wanted = {(str(s.file_name), str(s.dset_name)) for s in (dataset.virtual_sources() if dataset.is_virtual else ())}
    for name, inner in wanted:
        try:
            with h5py.File(dataset.file.filename if name == "." else folder / name, "r") as file:
                file[inner]
        except (OSError, KeyError, ValueError, RuntimeError):
            yield f"{name}:{inner}"


def _blank(dataset: Any) -> tuple[str, ...]:
    """Words a remark on parts that were never written."""
    if dataset.is_virtual or dataset.external:
        return ()
    if dataset.id.get_storage_size() == 0:
        return ("Nothing was ever written into it: all of its voxels are fill value",)
    if dataset.chunks is None:
        return ()
    whole = math.prod(-(-n // c) for n, c in zip(dataset.shape, dataset.chunks, strict=True))
    written = dataset.id.get_num_chunks()
    return (
        (f"{whole - written} of its {whole} chunks were never written and are fill value",) if written < whole else ()
    )


def _chosen(file: Any, path: Path, wanted: str | None) -> tuple[str, Any]:
    """The dataset that is meant, and its name."""
    import h5py

    if wanted is not None:
        try:
            item = file[wanted]
        except (KeyError, OSError, ValueError, RuntimeError) as error:
            raise VolumeError(_not_there(file, path, wanted, error)) from error
        if isinstance(item, h5py.Dataset):
            return wanted, item
    found = dict(_datasets(file))
    volumes = {name: item for name, item in found.items() if item.shape is not None and len(item.shape) >= 3}
    inside = {n: item for n, item in volumes.items() if wanted is None or n.startswith(wanted.strip("/") + "/")}
    different = {item.id.__hash__(): name for name, item in reversed(inside.items())}
    if len(different) == 1:
        name = next(iter(different.values()))
        return name, found[name]
    if not volumes:
        raise VolumeError(f"{path} has no dataset of three axes or more. It has: {_listing(found)}.")
    raise VolumeError(f"Say which dataset of {path} is meant, with --dataset NAME. It has: {_listing(found)}.")


def _not_there(file: Any, path: Path, wanted: str, error: Exception) -> str:
    import h5py

    link = file.get(wanted, getlink=True) if wanted in file or _is_link(file, wanted) else None
    if isinstance(link, h5py.ExternalLink):
        return f"{wanted!r} of {path} is a link to {link.path} in {link.filename}, which is not there: {error}."
    if isinstance(link, h5py.SoftLink):
        return f"{wanted!r} of {path} is a link to {link.path}, which is not there."
    return f"{path} has no dataset {wanted!r}. It has: {_listing(dict(_datasets(file)))}."


def _is_link(file: Any, name: str) -> bool:
    try:
        return file.get(name, getlink=True) is not None
    except (KeyError, OSError, ValueError, RuntimeError):
        return False


def _listing(found: dict[str, Any]) -> str:
    names = [f"{name} {item.shape}" for name, item in found.items()]
    return ", ".join(names[:_MOST_LISTED]) + (" …" if len(names) > _MOST_LISTED else "") or "none"


def _datasets(group: Any, prefix: str = "", seen: frozenset[int] = frozenset()) -> Iterator[tuple[str, Any]]:
    """Names and datasets below a group, behind soft and external links, too; each group once on its way down."""
    import h5py

    here = hash(group.id)
    if here in seen or len(seen) > _DEEPEST:
        return
    for name in group:
        try:
            item = group[name]
        except (KeyError, OSError, ValueError, RuntimeError):
            continue  # a link to nothing
        if isinstance(item, h5py.Dataset):
            yield f"{prefix}{name}", item
        elif isinstance(item, h5py.Group):
            yield from _datasets(item, f"{prefix}{name}/", seen | {here})
