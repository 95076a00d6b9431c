"""A TIFF as a volume: its pages, all of them, in the order that they or their metadata give; or a refusal."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ...pipeline.errors import RequestError, VolumeError
from ...pipeline.volumes.metadata import SPATIAL, Frame
from .ome_set import OmePlanes, read_ome
from .options import SourceOptions
from .stack import Content, in_words, stack_of
from .tiff_file import COLOUR_TABLE, GREY_TABLE, INVERTED, Page, TiffPages
from .tiff_files import Plane, TiffFiles
from .tiff_metadata import Promise, imagej_frame, imagej_promise, shaped_promises

AS_PAGES = "To take the pages as they come, one section each, say --axes zyx"


@dataclass(frozen=True)
class Layout:
    """Says which planes make the volume.

    Args:
        axes: names of the axes before y and x, the slowest first; empty strings where they have none.
        lengths: of these axes.
        planes: in C order.
        frame: voxel size.
        remarks: what a user must be told.
    """

    axes: tuple[str, ...]
    lengths: tuple[int, ...]
    planes: Sequence[Plane]
    frame: Frame
    remarks: tuple[str, ...] = ()


@contextmanager
def open_tiff(path: Path, options: SourceOptions) -> Iterator[Content]:
    """Open a TIFF as an array (…, Y, X).

    Raises:
        VolumeError: its pages differ, it was cut short, or its metadata and its pages contradict one another.
    """
    with TiffFiles([path]) as files:
        layout = tiff_layout(files, options)
        names = [f"{number}" for number in range(len(layout.planes))]
        page = check_alike([files.page(plane) for plane in layout.planes], names, str(path))
        yield content_of(
            files, layout, page, options, (*layout.remarks, *_beside(path, layout), *_behind(files, layout))
        )


def content_of(
    files: TiffFiles, layout: Layout, page: Page, options: SourceOptions, remarks: tuple[str, ...]
) -> Content:
    """Returns the array of a layout whose pages are alike."""
    planes = layout.planes
    channel = options.channel if page.samples > 1 else None

    def read(number: int, rows: slice, columns: slice) -> np.ndarray:
        return files.read(planes[number], rows, columns, channel)

    array = stack_of(layout.lengths, page.shape, page.dtype, read)
    named = all(layout.axes) and len(set(layout.axes)) == len(layout.axes)
    axes = (*layout.axes, "y", "x") if named else ()
    first, last = (files.name(plane) for plane in (planes[0], planes[-1]))
    count = dict(zip(layout.axes, layout.lengths, strict=True)).get("z", len(planes))
    told = (*remarks, *page_remarks(page))
    sections = in_words(count, first, last)
    return Content(array, axes, layout.frame, sections=sections, remarks=told, samples=page.samples)


def check_alike(
    pages: Sequence[Page], names: Sequence[str], where: str, rule: str = "All pages must have one size and type"
) -> Page:
    """Returns the one kind that all pages are of.

    Args:
        pages: of a volume.
        names: of the pages.
        where: the file or folder, for messages.
        rule: in words.

    Raises:
        VolumeError: there are several; the message says which pages are of which.
    """
    kinds: dict[tuple[object, ...], list[str]] = defaultdict(list)
    examples: dict[tuple[object, ...], Page] = {}
    for page, name in zip(pages, names, strict=True):
        kind = (page.shape, page.dtype, page.samples, page.photometric, page.orientation)
        kinds[kind].append(name)
        examples.setdefault(kind, page)
    if len(kinds) > 1:
        found = "; ".join(f"{examples[k]}: {_some(kinds[k])}" for k in sorted(kinds, key=lambda k: -len(kinds[k])))
        raise VolumeError(
            f"{rule}; in {where} they differ (numbers from 0): {found}. Save those that differ like the rest, crop or "
            "pad them, or take them out."
        )
    return next(iter(examples.values()))


def _some(names: list[str]) -> str:
    if len(names) <= 4:
        return ", ".join(names)
    return f"{', '.join(names[:3])} … {names[-1]} ({len(names)} of them)"


def page_remarks(page: Page) -> tuple[str, ...]:
    """Words remarks on how the values of pages are meant."""
    remarks = []
    if page.photometric == INVERTED:
        remarks.append(
            "Its pages say that 0 is white, so that viewers invert them; the values are kept as they are stored. If "
            "membranes should be dark and are bright, invert the images"
        )
    if page.photometric == GREY_TABLE:
        remarks.append("Its pages have a table of grey values, in which the values are looked up")
    if page.photometric == COLOUR_TABLE:
        remarks.append("Its pages have a table of colours; the numbers are kept as they are stored, as of labels")
    if page.is_lossy:
        remarks.append("Its pages are JPEG, which is lossy: these are not the grey values that were taken")
    if page.orientation != 1:
        remarks.append(f"Its orientation ({page.orientation}) is not applied: rows and columns are kept as stored")
    return tuple(remarks)


def tiff_layout(files: TiffFiles, options: SourceOptions) -> Layout:
    """Returns the planes of one file by whatever metadata it has, once that is known to agree with its pages.

    Raises:
        VolumeError: it does not, or a page is damaged.
    """
    own = files[0]
    first = own.tiff_page(0)
    description = str(first.description)
    forced = options.axes is not None and len(options.axes) == 3
    if own.file.is_ome:
        if not forced:
            return ome_layout(read_ome(files, description, options.dataset))
        return _all_pages(own, _ome_frame(description), "OME")
    if options.dataset is not None:
        raise RequestError(f"Only HDF5 and OME-TIFF files have datasets to choose from; {own.path} is neither.")
    if own.file.is_imagej:
        promise, frame = imagej_promise(own.file, own.pages[0].samples), imagej_frame(own.file, first)
        return _all_pages(own, frame, "ImageJ", promise) if forced else _promised(own, promise, frame, "ImageJ")
    if own.file.is_shaped and not forced:
        return _shaped_layout(own)
    promise = _microscope_promise(own)
    if promise is None or forced:
        return _all_pages(own, Frame(SPATIAL), None, promise)
    return _promised(own, promise, Frame(SPATIAL), promise.program)


def _ome_frame(description: str) -> Frame:
    """The voxel size of the first image of OME metadata, if it can be had."""
    from .ome_xml import parse_ome

    try:
        images = parse_ome(description, "").images
    except VolumeError:
        return Frame(SPATIAL)
    return images[0].frame if images else Frame(SPATIAL)


def ome_layout(found: OmePlanes) -> Layout:
    """Returns the planes of an OME image along those of its axes that are longer than 1."""
    axes = tuple(axis for axis in "tcz" if found.lengths[axis] > 1) or ("z",)
    return Layout(axes, tuple(found.lengths[axis] for axis in axes), found.planes, found.frame, found.remarks)


def _promised(own: TiffPages, promise: Promise | None, frame: Frame, program: str) -> Layout:
    """The planes that metadata promises, which must be the pages, or lie behind the only page."""
    pages = full_pages(own)
    total = 0 if promise is None else math.prod(promise.lengths)
    if promise is not None and total == len(pages):
        planes: list[Plane] = pages
    elif promise is not None and len(pages) == 1 and own.planes_behind(total):
        planes = [Plane(0, 0, behind=number) for number in range(total)]
    else:
        said = "numbers that contradict one another" if promise is None else f"{total} planes"
        cut = len(pages) == 1 and total > 1
        raise VolumeError(
            f"{own.path} has {len(pages)} pages, and its {program} metadata promises {said}: "
            + (f"it was cut short. Copy it again. {AS_PAGES}." if cut else f"one of them is wrong. {AS_PAGES}.")
        )
    axes, lengths = _without_ones(promise)
    return Layout(axes, lengths, planes, frame, _left_out(own))


def _without_ones(promise: Promise) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """The promised axes that are longer than 1; z if there is none."""
    kept = [(name, length) for name, length in zip(promise.axes, promise.lengths, strict=True) if length > 1]
    if not kept:
        return ("z",), (1,)
    return tuple(name for name, _ in kept), tuple(length for _, length in kept)


def _shaped_layout(own: TiffPages) -> Layout:
    """The pages of one or several series that tifffile wrote one behind the other."""
    pages = map(own.tiff_page, range(len(own.pages)))
    described = [(page.shaped_description, tuple(page.shape)[int(page.imagedepth > 1) :]) for page in pages]
    series = shaped_promises(described)
    if len(series) == 1 and series[0][1] is not None:
        return _promised(own, series[0][1], Frame(SPATIAL), "tifffile")
    stacks = [promise.axes if promise else () for _, promise in series]
    end, last = series[-1]
    whole = end + (math.prod(last.lengths) if last else 1) == len(own.pages)
    if not whole or not all(axes in ((), ("z",)) for axes in stacks):
        shapes = ", ".join(str(promise.lengths if promise else (1,)) for _, promise in series[:8])
        raise VolumeError(
            f"{own.path} was written in {len(series)} pieces of {shapes} planes, which are no {len(own.pages)} pages "
            f"of one stack. {AS_PAGES}."
        )
    return _all_pages(own, Frame(SPATIAL), None)


def _microscope_promise(own: TiffPages) -> Promise | None:
    """The planes of a microscope's own format, as tifffile understands it; None of pages that nothing describes."""
    try:
        series = own.file.series
        kind, axes, shape = series[0].kind, series[0].axes, series[0].shape
        more = sum(int(one.size) for one in series) > sum(math.prod((*p.shape, p.samples, p.depth)) for p in own.pages)
    except Exception as error:
        raise VolumeError(f"{own.path} is not a TIFF that can be read: {error}.") from error
    if not more and (len(series) > 1 or kind in ("generic", "uniform", "shaped")):
        return None
    outer = [(a.lower(), n) for a, n in zip(axes, shape, strict=True) if a not in "YXS" and n > 1]
    names = tuple("z" if a in "iq" and len(outer) == 1 else a for a, _ in outer)
    return Promise(names, tuple(n for _, n in outer), kind)


def _all_pages(own: TiffPages, frame: Frame, program: str | None, promise: Promise | None = None) -> Layout:
    """All pages, one section each, in the order of the file."""
    pages = full_pages(own)
    total = 1 if promise is None else math.prod(promise.lengths)
    if len(pages) == 1 and total > 1:
        if not own.planes_behind(total):
            raise VolumeError(
                f"{own.path} promises {total} planes behind its only page: it was cut short. Copy it again."
            )
        pages = [Plane(0, 0, behind=number) for number in range(total)]
    told = () if program is None else (f"Its planes are taken as they come, not as its {program} metadata has them",)
    return Layout(("z",), (len(pages),), pages, frame, (*told, *_left_out(own)))


def full_pages(own: TiffPages) -> list[Plane]:
    """Returns the planes of all pages but smaller pictures of them."""
    sizes = {page.shape for page in own.pages if not page.is_reduced}
    planes = [
        Plane(0, number, depth)
        for number, page in enumerate(own.pages)
        if not page.is_reduced or not sizes or page.shape in sizes
        for depth in range(page.depth)
    ]
    for number, page in enumerate(own.pages):
        larger = [inner for inner in page.inner if math.prod(inner) > math.prod(page.shape)]
        if larger:
            raise VolumeError(
                f"Page {number} of {own.path} has {page.shape} pixels (y, x), and inside it is an image of {larger[0]} "
                "(SubIFD), which is not read. Export the full resolution."
            )
    return planes


def _left_out(own: TiffPages) -> tuple[str, ...]:
    left = len(own.pages) - len({plane.page for plane in full_pages(own)})
    return (f"{left} of its pages are smaller pictures of others and are left out",) if left else ()


def _behind(files: TiffFiles, layout: Layout) -> tuple[str, ...]:
    """Words a remark on bytes behind the only page of a file, which no page describes."""
    spare = files[0].room() - len(layout.planes) if len(files.pages(0)) == 1 else 0
    return (
        (f"Behind its last plane lie bytes for {spare} more, which nothing describes: not read",) if spare > 0 else ()
    )


def _beside(path: Path, layout: Layout) -> tuple[str, ...]:
    """Words a remark on a single section that has others beside it."""
    if len(layout.planes) > 1:
        return ()
    others = sum(1 for p in path.parent.iterdir() if p.suffix == path.suffix and p.name[0] != ".") - 1
    if others < 1:
        return ("It is a single section",)
    return (f"It is a single section; {others} more files lie beside it: give their folder to read them all",)
