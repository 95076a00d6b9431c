"""What convert reads: TIFF and PNG sections, HDF5, and volumes, each as boxes of one (C,) Z, Y, X array."""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ...pipeline.errors import RequestError, StorageError, VolumeError
from ...pipeline.geometry import Box, Triple, triple
from ...pipeline.volumes import open_volume
from ...pipeline.volumes.metadata import (
    SPATIAL,
    Frame,
    affinity_offsets,
    arrange,
    attribute_frame,
    axis_letters,
    in_nanometres,
)
from ...pipeline.volumes.spec import Nanometres, nanometres

SIGNATURES = {
    b"II*\0": "tiff",
    b"MM\0*": "tiff",
    b"II+\0": "tiff",
    b"MM\0+": "tiff",
    b"\x89HDF": "hdf5",
    b"\x89PNG": "png",
}
SECTION_SUFFIXES = {".tif": "TIFF", ".tiff": "TIFF", ".png": "PNG"}
BROKEN = (OSError, ValueError, RuntimeError, KeyError, IndexError)  # what decoders of damaged files raise


@dataclass(frozen=True)
class Source:
    """An array to be converted, seen as (C,) Z, Y, X.

    Args:
        path: where it lies, for messages.
        shape: z, y, x voxels.
        dtype: a numpy type's name, in native byte order.
        channels: None: no channel axis.
        voxel_size: nm; None where the source does not say.
        translation: nm, position of the first voxel.
        offsets: of affinities.
        read: the voxels of a box.
    """

    path: str
    shape: Triple
    dtype: str
    channels: int | None
    voxel_size: Nanometres | None
    translation: Nanometres
    offsets: tuple[Triple, ...] | None
    read: Callable[[Box], np.ndarray]


@contextmanager
def open_source(
    path: str | Path,
    *,
    voxel_size: Sequence[float] | None = None,
    axes: str | None = None,
    dataset: str | None = None,
    offsets: Sequence[Sequence[int]] | None = None,
) -> Iterator[Source]:
    """Open whatever lies at a path: a TIFF or HDF5 file, a folder of sections, or a volume; told by its content.

    Args:
        path: a file, a folder, or the URL of a volume.
        voxel_size: nm, z y x, instead of what the source says.
        axes: the array's axes in its own order, one letter each, instead of what the source says.
        dataset: which array of an HDF5 file.
        offsets: of affinities, (z, y, x) a channel, instead of what the source says.

    Raises:
        VolumeError: there is nothing that can be read, or its pages or axes are not those of a volume.
    """
    kind = _kind(Path(path))
    if dataset is not None and kind != "hdf5":
        raise RequestError(f"Only HDF5 files have datasets to choose from; {path} is none (dataset {dataset!r}).")
    if kind == "volume":
        volume = open_volume(path, voxel_size=voxel_size, axes=axes, offsets=offsets)
        spec = volume.spec
        yield Source(
            volume.path,
            spec.shape,
            spec.dtype,
            spec.channels,
            spec.voxel_size,
            spec.translation,
            spec.offsets,
            volume.read,
        )
        return
    with _READERS[kind](Path(path), dataset) as (array, found_axes, attributes):
        letters = axis_letters(list(axes)) if axes is not None else found_axes
        frame = attribute_frame(letters, attributes, str(path))
        known = tuple(triple(o) for o in offsets) if offsets is not None else affinity_offsets(attributes, str(path))
        yield _arranged(str(path), array, letters, frame, known, voxel_size)


def _arranged(
    path: str,
    array: Any,
    axes: tuple[str, ...],
    frame: Frame,
    offsets: tuple[Triple, ...] | None,
    voxel_size: Sequence[float] | None,
) -> Source:
    order, dropped = arrange(axes, array.shape, path, keep_channel=offsets is not None)
    shape = [array.shape[a] for a in order][dropped:]
    dtype = np.dtype(array.dtype).newbyteorder("=")

    def read(box: Box) -> np.ndarray:
        wanted = [slice(0, 1)] * dropped + [slice(None)] * (len(shape) - 3) + [*box.slices()]
        in_own_order = tuple(where for _, where in sorted(zip(order, wanted, strict=True), key=lambda pair: pair[0]))
        try:
            voxels = np.transpose(array[in_own_order], order)
        except BROKEN as error:
            raise StorageError(
                f"Could not read {box} of {path}: {error}. The file is damaged or incomplete."
            ) from error
        return np.ascontiguousarray(voxels.reshape(voxels.shape[dropped:]), dtype=dtype)

    size, shift = (
        nanometres([lengths[n] for n in SPATIAL]) if all(n in lengths for n in SPATIAL) else None
        for lengths in (frame.size, frame.translation)
    )
    if voxel_size is not None:
        size = nanometres(voxel_size)
    channels = shape[0] if len(shape) == 4 else None
    return Source(path, triple(shape[-3:]), dtype.name, channels, size, shift or (0.0, 0.0, 0.0), offsets, read)


def _kind(path: Path) -> str:
    if path.is_file():
        with path.open("rb") as file:
            start = file.read(4)
        kind = SIGNATURES.get(start)
        if kind == "png":
            raise VolumeError(f"{path} is one PNG, a single section. Give the folder that holds them all.")
        if kind is None:
            raise VolumeError(f"{path} is neither TIFF nor HDF5 (it begins with {start!r}).")
        return kind
    holds_sections = path.is_dir() and any(p.suffix.lower() in SECTION_SUFFIXES for p in path.iterdir())
    return "sections" if holds_sections else "volume"


Reader = tuple[Any, tuple[str, ...], dict[str, Any]]  # an array to be sliced, its axes, its attributes


# --- one TIFF file --------------------------------------------------------------------------------------------------


@contextmanager
def _tiff(path: Path, _: str | None) -> Iterator[Reader]:
    import tifffile
    import zarr

    try:
        file = tifffile.TiffFile(path)
    except tifffile.TiffFileError as error:
        raise VolumeError(f"{path} is not a TIFF that can be read: {error}.") from error
    with file:
        shapes = {series.keyframe.shape for series in file.series}
        if len(shapes) > 1:
            raise VolumeError(
                f"All pages of {path} must have one size, found {sorted(shapes)} (y, x). Crop or pad them."
            )
        series = file.series[0]
        _check_grey(path, series.axes)
        if len(file.series) > 1 and series.axes == "YX":  # pages written one by one, each described on its own
            pages = tuple(one.pages[0] for one in file.series)
            array: Any = Sections(tuple(page.asarray for page in pages), series.shape, str(series.dtype))
            axes: tuple[str, ...] = SPATIAL
        else:
            # Through zarr, a box is read without the rest of its pages.
            array, axes = zarr.open_array(series.aszarr(), mode="r"), _tiff_axes(series.axes)
        yield array, axes, _tiff_attributes(file)


def _tiff_axes(axes: str) -> tuple[str, ...]:
    """tifffile's letters as ours: it calls a stack of unnamed pages I or Q."""
    return tuple("z" if a in "IQ" and axes.count(a) == 1 and "Z" not in axes else a.lower() for a in axes)


def _check_grey(path: Path, axes: str) -> None:
    if "S" in axes:
        raise VolumeError(
            f"{path} is coloured (axes {axes}, S: samples of a colour). Sections must be grey: convert them."
        )


def _tiff_attributes(file: Any) -> dict[str, Any]:
    """The voxel size that ImageJ or OME put into a TIFF, if any."""
    if file.is_imagej:
        x, y = (file.pages[0].tags.get(f"{axis}Resolution") for axis in "XY")
        spacing, unit = file.imagej_metadata.get("spacing"), file.imagej_metadata.get("unit")
        if x and y and spacing and unit:
            per_pixel = [tag.value[1] / tag.value[0] for tag in (y, x)]
            nm = in_nanometres(str(unit).replace("\\u00B5", "µ"), file.filename)
            return {"resolution": [nm * float(v) for v in (spacing, *per_pixel)]}
    if file.is_ome:
        pixels = dict(re.findall(r'PhysicalSize([XYZ](?:Unit)?)="([^"]*)"', file.ome_metadata))
        if all(n in pixels for n in "XYZ"):
            units = [in_nanometres(pixels.get(f"{n}Unit", "µm"), file.filename) for n in "ZYX"]
            return {"resolution": [float(pixels[n]) * nm for n, nm in zip("ZYX", units, strict=True)]}
    return {}


# --- a folder of sections -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Sections:
    """Sections read one by one, as one array.

    Args:
        readers: one a section, each returns a (Y, X) array.
        plane: y, x pixels of each.
        dtype: type of the pixels.
    """

    readers: tuple[Callable[[], np.ndarray], ...]
    plane: tuple[int, ...]
    dtype: str

    @property
    def shape(self) -> tuple[int, ...]:
        return (len(self.readers), *self.plane)

    def __getitem__(self, where: tuple[slice, ...]) -> np.ndarray:
        z, y, x = where
        return np.stack([read()[y, x] for read in self.readers[z]])


@contextmanager
def _section_folder(path: Path, _: str | None) -> Iterator[Reader]:
    files = sorted((p for p in path.iterdir() if p.suffix.lower() in SECTION_SUFFIXES), key=_natural)
    kinds = {SECTION_SUFFIXES[p.suffix.lower()] for p in files}
    if len(kinds) > 1:
        raise VolumeError(f"{path} holds both PNG and TIFF files; a volume's sections must be of one kind.")
    header, read = (_png_header, _read_png) if kinds == {"PNG"} else (_tiff_header, _read_tiff)
    first = header(files[0])
    for file in files[1:]:
        found = header(file)
        if found != first:
            raise VolumeError(
                f"All sections must have one size and type: {files[0]} has {first[0]} (y, x) {first[1]}, "
                f"{file} has {found[0]} {found[1]}."
            )
    plane, dtype = first
    yield Sections(tuple(_bound(read, file) for file in files), plane, dtype), SPATIAL, {}


def _natural(path: Path) -> list[tuple[int, str]]:
    """Sorts section_9 before section_10."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", path.name)]


def _bound(read: Callable[[Path], np.ndarray], file: Path) -> Callable[[], np.ndarray]:
    return lambda: read(file)


def _png_header(path: Path) -> tuple[tuple[int, int], str]:
    with path.open("rb") as file:
        start = file.read(26)
    if len(start) < 26 or not start.startswith(b"\x89PNG"):
        raise VolumeError(f"{path} is not a PNG.")
    width, height, depth, colour = struct.unpack(">IIBB", start[16:26])
    if colour != 0 or depth not in (8, 16):
        raise VolumeError(f"{path} is not grey with 8 or 16 bits (colour type {colour}, {depth} bits). Convert it.")
    return (height, width), f"uint{depth}"


def _read_png(path: Path) -> np.ndarray:
    import imagecodecs

    return np.asarray(imagecodecs.png_decode(path.read_bytes()))


def _tiff_header(path: Path) -> tuple[tuple[int, int], str]:
    import tifffile

    try:
        with tifffile.TiffFile(path) as file:
            page, pages = file.pages[0], len(file.pages)
    except tifffile.TiffFileError as error:
        raise VolumeError(f"{path} is not a TIFF that can be read: {error}.") from error
    _check_grey(path, page.axes)
    if pages > 1 or len(page.shape) != 2:
        raise VolumeError(f"Each TIFF of a folder must be one section; {path} has {pages} pages of {page.shape}.")
    return page.shape, page.dtype.name


def _read_tiff(path: Path) -> np.ndarray:
    import tifffile

    return np.asarray(tifffile.imread(path))


# --- HDF5 -----------------------------------------------------------------------------------------------------------


@contextmanager
def _hdf5(path: Path, dataset: str | None) -> Iterator[Reader]:
    try:
        import h5py
    except ImportError as error:
        raise RequestError("Reading HDF5 needs h5py, which is not installed: pip install 'petavox[io]'") from error
    try:
        file = h5py.File(path, "r")
    except OSError as error:
        raise VolumeError(f"{path} is not an HDF5 file that can be read: {error}.") from error
    with file:
        array = file[_dataset_name(file, path, dataset)]
        attributes = {name: _plain(value) for name, value in array.attrs.items()}
        if "element_size_um" in attributes:  # ilastik and what follows it
            attributes = {"resolution": [1000 * v for v in attributes["element_size_um"]], **attributes}
        labels = tuple(dimension.label for dimension in array.dims)
        unnamed = {3: "zyx", 4: "czyx"}.get(array.ndim, "")
        yield array, axis_letters(labels if all(labels) else list(unnamed)), attributes


def _dataset_name(file: Any, path: Path, dataset: str | None) -> str:
    import h5py

    found: dict[str, tuple[int, ...]] = {}
    file.visititems(lambda name, item: found.update({name: item.shape} if isinstance(item, h5py.Dataset) else {}))
    volumes = [name for name, shape in found.items() if len(shape) >= 3]
    listing = ", ".join(f"{name} {shape}" for name, shape in found.items()) or "none"
    if dataset is not None:
        if dataset.strip("/") not in found:
            raise VolumeError(f"{path} has no dataset {dataset!r}. It has: {listing}.")
        return dataset
    if len(volumes) != 1:
        raise VolumeError(f"Say which dataset of {path} is meant, with --dataset NAME. It has: {listing}.")
    return volumes[0]


def _plain(value: Any) -> Any:
    """An attribute of HDF5 as JSON would have it."""
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    return value.tolist() if isinstance(value, np.generic | np.ndarray) else value


_READERS: Mapping[str, Callable[[Path, str | None], Any]] = {"tiff": _tiff, "sections": _section_folder, "hdf5": _hdf5}
