"""Reads sources of conversions as boxes of one (C,) Z, Y, X array: told by their content, never by their name."""

from __future__ import annotations

import glob
import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

import numpy as np

from ...pipeline.errors import PetavoxError, RequestError, StorageError, VolumeError
from ...pipeline.geometry import Box, Triple, triple
from ...pipeline.locations import REMOTE
from ...pipeline.volumes import Volume, open_volume
from ...pipeline.volumes.metadata import affinity_offsets, arrange, axis_letters
from ...pipeline.volumes.opening import no_voxel_size
from ...pipeline.volumes.plausible import size_remarks
from ...pipeline.volumes.spec import DTYPES, Nanometres, nanometres
from ...pipeline.volumes.stores import DOCUMENTS
from .hdf5 import is_hdf5, open_hdf5
from .images import BMP, JPEG, OTHER_SUFFIXES, PNG, SUFFIXES, TIFF, format_of
from .options import SourceOptions
from .sections import open_sections, section_files
from .stack import Content
from .tiff import open_tiff

_PREFIXES = ("precomputed://", "zarr://", "zarr2://", "zarr3://", "n5://")


@dataclass(frozen=True)
class Source:
    """Reads an array to be converted, seen as (C,) Z, Y, X.

    Args:
        path: where it lies, for messages.
        shape: z, y, x voxels.
        dtype: a numpy type's name, in native byte order.
        channels: None: no channel axis.
        voxel_size: nm.
        translation: nm, position of the first voxel.
        offsets: of affinities.
        read: the voxels of a box.
        sections: how many there are, which is the first and which the last; empty where there are none.
        remarks: what a user must be told.
        identity: what changes when it is written anew.
        fill_value: of voxels that hold nothing.
    """

    path: str
    shape: Triple
    dtype: str
    channels: int | None
    voxel_size: Nanometres
    translation: Nanometres
    offsets: tuple[Triple, ...] | None
    read: Callable[[Box], np.ndarray]
    sections: str = ""
    remarks: tuple[str, ...] = ()
    identity: str = ""
    fill_value: float = 0

    @property
    def box(self) -> Box:
        """Returns all voxels."""
        return Box.of_shape(self.shape)


@contextmanager
def open_source(path: str | Path, options: SourceOptions) -> Iterator[Source]:
    """Open whatever lies at a path: a TIFF or HDF5 file, a folder of sections, or a volume.

    Args:
        path: a file, a folder, a pattern with * and ? for the files of sections, or the URL of a volume.
        options: what the user says of it.

    Raises:
        VolumeError: there is nothing that can be read, or its pages, axes or voxel size are not those of a volume.
        RequestError: an option does not fit what is there.
    """
    with ExitStack() as stack:
        where = str(path)
        try:
            found = find_source(path)
            if isinstance(found, str):
                source = _of_volume(found, options)
            else:
                where = str(path) if len(found) != 1 else str(found[0])
                content = stack.enter_context(_content(found, where, options))
                source = _arranged(where, content, options, _identity(found))
        except OSError as error:
            place = error.filename or where
            raise StorageError(f"{place} cannot be read: {error.strerror or error}. Check its permissions.") from error
        yield source


def find_source(path: str | Path) -> str | list[Path]:
    """Returns the address of a volume, or the file, folder or files that a path, pattern or URL means.

    Raises:
        VolumeError: a pattern fits nothing, or several volumes; or a server has a file that is not read from there.
    """
    text = str(path)
    plain = text
    for prefix in _PREFIXES:
        plain = plain.removeprefix(prefix)
    if plain.startswith(REMOTE):
        ending = Path(urlsplit(plain).path).suffix.lower()
        if ending in SUFFIXES or ending in (".h5", ".hdf5", ".hdf", ".zip"):
            raise VolumeError(
                f"From a server, zarr, N5 and precomputed are read; {text} is a {ending} file. Download it first."
            )
        return text
    local = Path(_local(plain)).expanduser()
    if local.exists() or local.is_symlink():
        return [local] if _is_foreign(local) else text
    if glob.has_magic(plain):
        return _fitting(plain)
    return text


def _local(text: str) -> str:
    """The path of a file:// URL; other texts as they are."""
    if not text.startswith("file:"):
        return text
    path = "/" + text.removeprefix("file:").removeprefix("//localhost").lstrip("/")
    return path if Path(path).exists() else unquote(path)


def _fitting(pattern: str) -> str | list[Path]:
    """The files that a pattern fits; hidden ones only where it says so."""
    expanded = str(Path(_local(pattern)).expanduser())
    found = sorted(Path(p) for p in glob.glob(expanded, recursive=True))  # noqa: PTH207 - of an absolute pattern
    files = [p for p in found if not p.is_dir() and not p.name.startswith(".")]
    if not found:
        raise VolumeError(f"No file fits {pattern}. Check the folder and the pattern.")
    images = [p for p in files if p.suffix.lower() in SUFFIXES]
    if files and len(files) == len(found):
        return images or files
    if len(found) == 1:
        return [found[0]] if _is_foreign(found[0]) else str(found[0])
    listed = ", ".join(str(p) for p in found[:5])
    raise VolumeError(f"{pattern} fits {len(found)} files and folders: {listed} … Give one volume, or files alone.")


def _is_foreign(path: Path) -> bool:
    """Tells whether something is read here: a file, or a folder of sections without the documents of a volume."""
    if not path.is_dir():
        return True
    if any(p.suffix.lower() in SUFFIXES and p.name[0] != "." for p in path.iterdir()):
        return True
    if any((path / name).exists() for name in DOCUMENTS):
        return False
    others = sorted({p.suffix.lower() for p in path.iterdir()} & OTHER_SUFFIXES)
    if others:
        raise VolumeError(f"{path} holds {', '.join(others)} files; sections are TIFF, PNG or BMP. Save them as TIFF.")
    return bool(section_files(path)) or bool(_inner_folders(path))


def _inner_folders(path: Path) -> list[Path]:
    """The folders below that hold sections."""
    inner = sorted(p for p in path.iterdir() if p.is_dir() and p.name[0] != ".")
    return [p for p in inner[:100] if any(q.suffix.lower() in SUFFIXES for q in p.iterdir() if q.name[0] != ".")]


def _identity(found: list[Path]) -> str:
    """A hash that changes when a file is replaced or rewritten, by names, times of change and sizes."""
    files = section_files(found[0]) if len(found) == 1 and found[0].is_dir() else found
    known = [(str(f.absolute()), status.st_mtime_ns, status.st_size) for f in files for status in (f.stat(),)]
    return hashlib.sha256(json.dumps(known).encode()).hexdigest()


@contextmanager
def _content(found: list[Path], where: str, options: SourceOptions) -> Iterator[Content]:
    first = found[0]
    is_folder = len(found) == 1 and first.is_dir()
    files = section_files(first) if is_folder else found
    if is_folder and not files:
        inner = ", ".join(f"{p} ({len(section_files(p))} files)" for p in _inner_folders(first)[:5])
        raise VolumeError(
            f"{first} has its sections in folders of its own: {inner}. Give one of them; or all, if they are one "
            f"series: '{first}/*/*'"
        )
    kind = None if is_folder or len(found) > 1 else _kind(first)
    if options.dataset is not None and kind not in ("hdf5", TIFF):
        raise RequestError(f"Only HDF5 and OME-TIFF files have datasets to choose from; {where} is neither.")
    if kind == "hdf5":
        with open_hdf5(first, options) as content:
            yield content
    elif kind == TIFF:
        with open_tiff(first, options) as content:
            yield content
    else:
        with open_sections(files, where, options) as content:
            yield content


def _kind(path: Path) -> str:
    """The format of one file, by its content."""
    if path.is_symlink() and not path.exists():
        raise VolumeError(f"{path} is a link to {path.readlink()}, where nothing is. Fetch it, or copy the file there.")
    if not path.is_file():
        raise VolumeError(f"{path} is neither a file nor a folder.")
    image = format_of(path)
    if image in (PNG, BMP, JPEG):
        raise VolumeError(f"{path} is one {image}, a single section. Give the folder that holds them all.")
    if image == TIFF:
        return TIFF
    if is_hdf5(path):
        return "hdf5"
    with path.open("rb") as file:
        start = file.read(4)
    packed = " It is a zip file: unpack it first." if start == b"PK\3\4" else ""
    packed = " It is compressed: unpack it first (gunzip)." if start[:2] == b"\x1f\x8b" else packed
    raise VolumeError(
        f"{path} is neither TIFF nor HDF5 (it begins with {start!r}).{packed or ' Save it as TIFF, HDF5 or zarr.'}"
    )


def _of_volume(path: str, options: SourceOptions) -> Source:
    if options.dataset is not None:
        path = f"{path.rstrip('/')}/{options.dataset.strip('/')}"
    volume = open_volume(
        path,
        voxel_size=options.voxel_size,
        axes=options.axes,
        offsets=options.offsets,
        channel=options.channel,
        time=options.time,
    )
    return _seen(volume)


def _seen(volume: Volume) -> Source:
    spec = volume.spec
    return Source(
        volume.path,
        spec.shape,
        spec.dtype,
        spec.channels,
        spec.voxel_size,
        spec.translation,
        spec.offsets,
        volume.read,
        remarks=volume.remarks,
        identity=volume.identity(),
        fill_value=spec.fill_value,
    )


def _arranged(path: str, content: Content, options: SourceOptions, identity: str) -> Source:
    """A foreign array in (C,) Z, Y, X and nanometres."""
    array, frame = content.array, content.frame
    axes = _axes(content, options)
    stated = affinity_offsets(content.attributes, path)
    offsets = tuple(triple(o) for o in options.offsets) if options.offsets is not None else stated
    chosen = {n: i for n, i in (("c", options.channel), ("t", options.time)) if i is not None and n in axes}
    if options.channel and "c" not in axes and content.samples == 1:
        raise RequestError(f"{path} has no channels, of which --channel {options.channel} takes one: leave it out.")
    if options.time is not None and "t" not in axes:
        raise RequestError(f"There is no axis of time in {path}, of which --time takes a point: leave it out.")
    order, indices = arrange(axes, array.shape, path, keep_channel=offsets is not None, chosen=chosen)
    view = array.arranged(order, indices)
    if view.dtype not in DTYPES:
        raise VolumeError(f"Voxels must be booleans, integers or floats, found {view.dtype!r} in {path}.")
    size = nanometres(options.voxel_size) if options.voxel_size is not None else frame.voxel_size
    if size is None and options.default_voxel_size is not None:
        size = nanometres(options.default_voxel_size)
    if size is None:
        raise VolumeError(no_voxel_size(path, frame.doubt))
    channels = view.shape[0] if len(view.shape) == 4 else None

    def read(box: Box) -> np.ndarray:
        try:
            return view.read((slice(None), *box.slices()) if channels is not None else box.slices())
        except PetavoxError:
            raise
        except Exception as error:  # of damaged files, decoders raise anything
            raise StorageError(
                f"Could not read {box} of {path}: {error}. The file is damaged or incomplete."
            ) from error

    remarks = tuple(f"{path}: {remark}." for remark in (*content.remarks, *size_remarks(size)))
    shape, kept = triple(view.shape[-3:]), None if options.channel is not None else offsets
    return Source(
        path, shape, view.dtype, channels, size, frame.origin, kept, read, content.sections, remarks, identity
    )


def _axes(content: Content, options: SourceOptions) -> tuple[str, ...]:
    return axis_letters(list(options.axes)) if options.axes is not None else content.axes
