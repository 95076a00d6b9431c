"""A folder of sections as a volume: TIFF, PNG or BMP, one file a section, or TIFF parts of many sections each."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np

from ...pipeline.errors import StorageError, VolumeError
from ...pipeline.volumes.metadata import SPATIAL, Frame
from .grey import grey_of
from .images import JPEG, OTHER_SUFFIXES, SUFFIXES, TIFF, format_of, kind_of, read_image
from .ome_set import read_ome
from .options import SourceOptions
from .section_names import natural_key, order_of
from .stack import Content, in_words, stack_of
from .tiff import Layout, check_alike, content_of, ome_layout, tiff_layout
from .tiff_file import Page
from .tiff_files import TiffFiles

ALIKE = "All sections must have one size and type"


def section_files(folder: Path) -> list[Path]:
    """Lists the files of a folder that are sections; hidden ones, and what other programs leave, are none.

    Raises:
        VolumeError: one is a link to nothing, or no file.
        StorageError: the folder cannot be read.
    """
    try:
        found = sorted((p for p in folder.iterdir() if not _is_hidden(p)), key=lambda p: natural_key(p.name))
    except OSError as error:
        raise StorageError(f"{folder} cannot be read: {error.strerror}. Check its permissions.") from error
    files = [p for p in found if p.suffix.lower() in SUFFIXES and not p.is_dir()]
    if not files:  # perhaps their names have no endings, as of some microscopes
        files = [p for p in found if p.suffix[1:].isdecimal() or not p.suffix if p.is_file() and format_of(p)]
    return files


def _is_hidden(path: Path) -> bool:
    return path.name.startswith((".", "~$")) or path.name == "__MACOSX"


@contextmanager
def open_sections(files: Sequence[Path], where: str, options: SourceOptions) -> Iterator[Content]:
    """Open sections as an array Z, Y, X.

    Args:
        files: of the sections, in any order.
        where: names them all, for messages.
        options: what the user says.

    Raises:
        VolumeError: they differ, are not grey, have no order, or one is missing.
    """
    formats = {file: _checked_format(file) for file in files}
    kinds = sorted(set(formats.values()))
    if len(kinds) > 1:
        listed = " and ".join(kinds)
        raise VolumeError(
            f"{where} holds both {listed} files; a volume's sections must be of one kind. Give one of them, in quotes: "
            f"'{where}/*{files[0].suffix}'"
        )
    if kinds == [JPEG] and not options.lossy:
        raise VolumeError(
            f"{where} holds JPEG images, which are lossy: their grey values are not those that were taken. Find the "
            "originals, save them as PNG or TIFF, or say --lossy to read them as they are."
        )
    ordered, remarks = _in_order(files, options)
    remarks = (*remarks, *_neighbours(ordered, where))
    if kinds == [TIFF]:
        with TiffFiles(ordered) as tiffs:
            yield _tiff_sections(tiffs, where, options, remarks)
    else:
        yield _image_sections(ordered, kinds[0], options, remarks)


def _checked_format(file: Path) -> str:
    if file.is_symlink() and not file.exists():
        raise VolumeError(
            f"The section {file} is a link to {file.readlink()}, where nothing is. Fetch it (git annex get, dvc pull), "
            "or copy the file there."
        )
    if not file.is_file():
        raise VolumeError(f"The section {file} is no file. Take it away.")
    found = format_of(file)
    if found is None:
        raise VolumeError(
            f"The section {file} is neither TIFF, PNG nor BMP by its content ({file.stat().st_size} bytes): it is "
            "damaged. Copy it again, or take it away."
        )
    return found


def _in_order(files: Sequence[Path], options: SourceOptions) -> tuple[list[Path], tuple[str, ...]]:
    """The files in the order of their numbers, or of their names where the user says so."""
    if options.in_order:
        return sorted(files, key=lambda file: natural_key(str(file))), ()
    folder = os.path.commonpath([file.parent for file in files])
    names = [_stem(file.name) for file in files]
    try:
        order = order_of(names, folder)
    except VolumeError:
        if len({file.parent for file in files}) == 1:
            raise
        order = order_of([_stem(os.path.relpath(file, folder)) for file in files], folder)
    return [files[i] for i in order.indices], (order.remark,) if order.remark else ()


def _stem(name: str) -> str:
    """A name without the ending of an image; numbers after a point may count sections."""
    suffix = Path(name).suffix
    return name.removesuffix(suffix) if suffix.lower() in SUFFIXES else name


def _neighbours(files: Sequence[Path], where: str) -> tuple[str, ...]:
    """Words remarks on images in the folder that are not read."""
    folder = files[0].parent
    if str(folder) != where:
        return ()
    inner = [p for p in folder.iterdir() if p.is_dir() and not _is_hidden(p)]
    within = [p.name for p in inner if any(q.suffix.lower() in SUFFIXES for q in itertools.islice(p.iterdir(), 100))]
    others = sorted({p.suffix for p in folder.iterdir() if p.suffix.lower() in OTHER_SUFFIXES and not _is_hidden(p)})
    remarks = []
    if within:
        remarks.append(f"Its folders {', '.join(sorted(within)[:5])} hold images, too, which are not read")
    if others:
        remarks.append(f"It holds {', '.join(others)} files, too, which are not read")
    return tuple(remarks)


# --- TIFF -----------------------------------------------------------------------------------------------------------


def _tiff_sections(files: TiffFiles, where: str, options: SourceOptions, remarks: tuple[str, ...]) -> Content:
    """Files of one page each, or parts of many pages each that follow one another."""
    own = files[0]
    is_set = own.file.is_ome and any(word in own.tiff_page(0).description for word in ("FileName", "MetadataFile"))
    if is_set and not options.in_order:
        return _ome_folder(files, where, options, remarks)
    parts = [_part(path, replace(options, axes="zyx") if is_set else options) for path in files.paths]
    planes = [replace(plane, file=n) for n, (layout, _) in enumerate(parts) for plane in layout.planes]
    pages = [page for _, kinds in parts for page in kinds]
    counts = [len(layout.planes) for layout, _ in parts]
    _check_parts(files.paths, counts)
    if len(set(counts[:-1])) > 1:
        remarks = (*remarks, f"Its files have {min(counts)} to {max(counts)} sections each")
    files.know([kinds for _, kinds in parts])
    alike = check_alike(pages, [files.name(plane) for plane in planes], where, ALIKE)
    sizes = {layout.frame.voxel_size for layout, _ in parts}
    frame = parts[0][0].frame if len(sizes) == 1 else Frame(SPATIAL, doubt="its files state several")
    told = tuple(dict.fromkeys(remark for layout, _ in parts for remark in layout.remarks))
    return content_of(files, Layout(("z",), (len(planes),), planes, frame), alike, options, (*remarks, *told))


def _part(path: Path, options: SourceOptions) -> tuple[Layout, list[Page]]:
    """The planes of one file, which are sections one behind the other, and the page of each."""
    with TiffFiles([path]) as one:
        layout = tiff_layout(one, options)
        if layout.axes != ("z",) or len(one.paths) > 1:
            raise VolumeError(
                f"Each TIFF of a folder must hold sections alone; {path} has the axes {', '.join(layout.axes)}, y, x. "
                "Convert it by itself, or split it into one page a file."
            )
        return layout, [one.page(plane) for plane in layout.planes]


def _check_parts(paths: Sequence[Path], counts: Sequence[int]) -> None:
    """Make sure that all files have one page, or that all but the last have several."""
    if len(counts) > 1 and max(counts) > 1 and min(counts[:-1]) == 1:
        many, one = counts.index(max(counts)), counts.index(1)
        raise VolumeError(
            f"Each TIFF of a folder must be one section, or each must have several; {paths[many]} has {counts[many]} "
            f"pages, {paths[one]} has 1. Split the one into one page a file, or take it away."
        )


def _ome_folder(files: TiffFiles, where: str, options: SourceOptions, remarks: tuple[str, ...]) -> Content:
    """The files of an OME-TIFF set, in the order that their metadata gives."""
    given = len(files.paths)
    found = read_ome(files, str(files[0].tiff_page(0).description), options.dataset)
    used = {plane.file for plane in found.planes}
    left = [files.paths[n].name for n in range(given) if n not in used]
    beyond = [path.name for path in files.paths[given:]]
    if left or beyond:
        told = f"it leaves out {', '.join(left[:5])}" if left else f"it has {', '.join(beyond[:5])}, too"
        raise VolumeError(
            f"The files of {where} belong to a set by the OME metadata of {files.paths[0].name}, but {told}. Give one "
            "file of the set, or take the files in the order of their names: --in-order"
        )
    page = check_alike([files.page(p) for p in found.planes], [files.name(p) for p in found.planes], where, ALIKE)
    layout = ome_layout(found)
    return content_of(files, layout, page, options, (*layout.remarks, *remarks))


# --- PNG, BMP, JPEG -------------------------------------------------------------------------------------------------


def _image_sections(
    files: Sequence[Path], image_format: str, options: SourceOptions, remarks: tuple[str, ...]
) -> Content:
    first = kind_of(files[0], image_format)
    for file in files[1:]:
        found = kind_of(file, image_format)
        if found != first:
            raise VolumeError(
                f"{ALIKE}: {files[0]} has {first}, {file} has {found}. Save them alike, or crop or pad them."
            )
    for file in {files[0], files[len(files) // 2], files[-1]} if first.samples > 1 else ():
        grey_of(read_image(file, image_format), str(file), options.channel)

    def read(number: int, rows: slice, columns: slice) -> np.ndarray:
        file = files[number]
        pixels = read_image(file, image_format)
        if pixels.shape[:2] != first.shape:
            raise VolumeError(f"{ALIKE}: {file} has other pixels than its header says. Copy it again.")
        return grey_of(pixels, str(file), options.channel if first.samples > 1 else None)[rows, columns]

    array = stack_of((len(files),), first.shape, first.dtype, read)
    sections = in_words(len(files), files[0].name, files[-1].name)
    if image_format == JPEG:
        remarks = (*remarks, "JPEG is lossy: these are not the grey values that were taken")
    return Content(array, SPATIAL, Frame(SPATIAL), sections=sections, remarks=remarks, samples=first.samples)
