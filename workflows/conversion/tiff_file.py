"""One TIFF file: every page looked at before the first is read, and boxes of its planes read segment by segment."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from ...pipeline.errors import StorageError, VolumeError
from .grey import grey_of, grey_table
from .ifd_chain import page_offsets

logging.getLogger("tifffile").addHandler(logging.NullHandler())  # its doubts are ours to judge and to tell
GREY, INVERTED, COLOUR = "min is black", "min is white", "colours"
GREY_TABLE, COLOUR_TABLE = "a table of grey values", "a table of colours"
_PHOTOMETRIC = {0: INVERTED, 1: GREY, 2: COLOUR, 3: COLOUR_TABLE, 6: COLOUR, 34892: GREY}
_REDUCED, _MASK = 1, 4
_JPEG = (6, 7, 34892, 33007)
_ALPHA = (1, 2)  # of extra samples


@dataclass(frozen=True)
class Page:
    """Describes a page before its pixels are read.

    Args:
        shape: y, x pixels of a plane.
        dtype: a numpy type's name in native byte order.
        samples: of a pixel.
        photometric: how its values are meant: one of the words above.
        depth: planes that the page holds.
        orientation: 1: the first row is the upper one, and its first pixel the left one.
        is_lossy: its compression does not keep values as they were.
        is_reduced: it is a smaller picture of another page, or a mask over one.
        inner: (y, x) of the pages inside of it (SubIFDs).
    """

    shape: tuple[int, int]
    dtype: str
    samples: int
    photometric: str
    depth: int
    orientation: int
    is_lossy: bool
    is_reduced: bool
    inner: tuple[tuple[int, ...], ...] = ()

    def __str__(self) -> str:
        samples = f" with {self.samples} samples" if self.samples > 1 else ""
        return f"{self.shape} (y, x) {self.dtype}{samples}, {self.photometric}"


class TiffPages:
    """Reads the pages of an open TIFF file.

    Attributes:
        path: of the file.
        file: tifffile's view of it.
        pages: of each page what it is.
        tiff_page: tifffile's page with a number.
    """

    def __init__(self, path: Path, known: list[Page] | None = None) -> None:
        """Open a file and look at all of its pages, unless it is known from before what they are.

        Raises:
            VolumeError: it is no TIFF, it was cut short, or a page cannot be read; the message names the page.
        """
        import tifffile

        self.path = path
        offsets = page_offsets(path) if known is None else []
        try:
            self.file = tifffile.TiffFile(path, _multifile=False)
        except Exception as error:  # of damaged files, tifffile raises anything
            raise VolumeError(f"{path} is not a TIFF that can be read: {_said(error)}.") from error
        self.tiff_page = lru_cache(maxsize=4)(self._load)
        try:
            if known is not None:
                self.pages = known
                return
            if len(self.file.pages) != len(offsets):
                raise VolumeError(
                    f"{path} has {len(offsets)} pages, of which tifffile finds {len(self.file.pages)}. Export it again."
                )
            self.pages = [self._look_at(number) for number in range(len(offsets))]
        except BaseException:
            self.file.close()
            raise

    def close(self) -> None:
        self.file.close()

    def read(self, number: int, depth: int, rows: slice, columns: slice, channel: int | None) -> np.ndarray:
        """Returns grey values (Y, X) of a box of one plane of a page.

        Args:
            number: of the page.
            depth: of the plane in the page.
            rows, columns: in pixels.
            channel: the sample that is taken, of several.

        Raises:
            StorageError: the page is damaged.
            VolumeError: the box has colours.
        """
        where = f"page {number} of {self.path}"
        try:
            page = self.tiff_page(number)
            pixels = self._contiguous(page, page.dataoffsets[0], depth, rows, columns)
            if pixels is None:
                pixels = _by_segments(page, depth, rows, columns)
        except (StorageError, VolumeError):
            raise
        except Exception as error:
            raise StorageError(f"Could not read {where}: {_said(error)}. The file is damaged or incomplete.") from error
        alpha = bool(page.extrasamples) and int(page.extrasamples[-1]) in _ALPHA
        return grey_of(_looked_up(pixels, page), where, channel, alpha=alpha)

    def read_behind(self, number: int, rows: slice, columns: slice) -> np.ndarray:
        """Returns grey values (Y, X) of the plane that lies so many planes behind the first page's in the file."""
        page = self.tiff_page(0)
        pixels = self._contiguous(page, page.dataoffsets[0] + number * page.nbytes, 0, rows, columns)
        if pixels is None:
            raise StorageError(f"Could not read plane {number} of {self.path}: it has no page of its own.")
        return pixels

    def planes_behind(self, count: int) -> bool:
        """Tells whether so many planes lie one behind the other from the first page's on, to the file's end."""
        return self.tiff_page(0).samplesperpixel == 1 and count <= self.room()

    def room(self) -> int:
        """Returns for how many planes there are bytes from the first page's on; 0 where pages are compressed."""
        page = self.tiff_page(0)
        return int((self.file.filehandle.size - page.dataoffsets[0]) // page.nbytes) if _is_plain(page) else 0

    def _load(self, number: int) -> Any:
        return self.file.pages.get(number, aspage=True)

    def _contiguous(self, page: Any, start: int, depth: int, rows: slice, columns: slice) -> np.ndarray | None:
        """Pixels of a page that lies in the file as it is in memory; None of any other."""
        if not _is_plain(page):
            return None
        height, width, samples = page.imagelength, page.imagewidth, page.samplesperpixel
        dtype = np.dtype(page.dtype).newbyteorder(page.parent.byteorder)
        line = width * samples * dtype.itemsize
        handle = page.parent.filehandle
        handle.seek(start + (depth * height + rows.start) * line)
        content = handle.read((rows.stop - rows.start) * line)
        if len(content) != (rows.stop - rows.start) * line:
            raise StorageError(f"Could not read {self.path}: it ends within a page. It was cut short.")
        pixels = np.frombuffer(content, dtype).reshape(-1, width, samples)[:, columns]
        return pixels[..., 0] if samples == 1 else pixels

    def _look_at(self, number: int) -> Page:
        where = f"Page {number} of {self.path}"
        try:
            page = self.tiff_page(number)
            looked_at = _page_of(page, where)
            _check_data(page, where)
            return looked_at
        except VolumeError:
            raise
        except Exception as error:
            raise VolumeError(f"{where} cannot be read: {_said(error)}. The file is damaged: copy it again.") from error


def _page_of(page: Any, where: str) -> Page:
    """Reads the properties of a page.

    Raises:
        VolumeError: its pixels are none that can be grey.
    """
    photometric = _PHOTOMETRIC.get(int(page.photometric))
    subsampled = page.photometric == 6 and page.compression not in _JPEG
    if photometric is None or subsampled:
        kind = getattr(page.photometric, "name", page.photometric)
        raise VolumeError(f"{where} has values of the kind {kind}. Save it as 8 or 16 bit grey.")
    if page.dtype is None or np.dtype(page.dtype).kind not in "biuf":
        raise VolumeError(
            f"{where} has pixels of {page.bitspersample} bits in the sample format {page.sampleformat}. "
            "Save it as 8 or 16 bit grey."
        )
    if min(page.imagelength, page.imagewidth, page.imagedepth) < 1:
        raise VolumeError(f"{where} is empty: {page.imagelength} × {page.imagewidth} pixels. Take it out.")
    if photometric == COLOUR_TABLE and (page.colormap is None or page.samplesperpixel > 1):
        raise VolumeError(f"{where} has a table of colours that is missing. Save it as 8 or 16 bit grey.")
    if photometric == COLOUR_TABLE:
        grey = grey_table(np.asarray(page.colormap))
        same = grey is not None and np.array_equal(grey, np.arange(len(grey)))
        photometric = GREY if same else COLOUR_TABLE if grey is None else GREY_TABLE
    inner = page.pages if page.subifds else ()
    tag = page.tags.get(274)
    return Page(
        shape=(int(page.imagelength), int(page.imagewidth)),
        dtype=np.dtype(page.dtype).newbyteorder("=").name,
        samples=int(page.samplesperpixel),
        photometric=photometric,
        depth=int(page.imagedepth),
        orientation=1 if tag is None else int(tag.value),
        is_lossy=int(page.compression) in _JPEG,
        is_reduced=bool(int(page.subfiletype) & (_REDUCED | _MASK)),
        inner=tuple((int(one.imagelength), int(one.imagewidth)) for one in inner),
    )


def _check_data(page: Any, where: str) -> None:
    """Make sure that all strips or tiles of a page lie in the file.

    Raises:
        VolumeError: one is missing or reaches beyond the end.
    """
    size, wanted = page.parent.filehandle.size, math.prod(page.chunked)
    offsets, counts = page.dataoffsets, page.databytecounts
    if len(offsets) < wanted or len(counts) < wanted:
        raise VolumeError(
            f"{where} has {min(len(offsets), len(counts))} of its {wanted} strips or tiles. It was cut short."
        )
    for offset, count in zip(offsets, counts, strict=False):
        if offset <= 0 or count <= 0:
            raise VolumeError(f"{where} has no data in places: strips or tiles are empty. Export it again, whole.")
        if offset + count > size:
            raise VolumeError(f"{where} reaches to byte {offset + count} of {size}: it was cut short. Copy it again.")
    if page.compression == 1 and page.is_contiguous and sum(counts) < page.nbytes:
        raise VolumeError(f"{where} has {sum(counts)} of its {page.nbytes} bytes: it was cut short. Copy it again.")
    largest = math.prod(page.chunks) * np.dtype(page.dtype).itemsize
    if largest > _memory() / 2:
        raise VolumeError(
            f"{where} has strips or tiles of {largest} bytes, more than fits into memory. Save it in smaller ones."
        )


@lru_cache(maxsize=1)
def _memory() -> int:
    import psutil

    return int(psutil.virtual_memory().available)


def _is_plain(page: Any) -> bool:
    """Tells whether a page lies in the file as it is in memory."""
    planar = page.samplesperpixel > 1 and page.planarconfig == 2
    return bool(page.is_contiguous and page.fillorder == 1 and page.predictor == 1 and not planar and not page.is_tiled)


def _by_segments(page: Any, depth: int, rows: slice, columns: slice) -> np.ndarray:
    """Pixels (Y, X) or (Y, X, S) of a box, out of the strips or tiles that it touches."""
    separate, _, _, _, contiguous = page.shaped
    out = np.empty((separate, rows.stop - rows.start, columns.stop - columns.start, contiguous), page.dtype)
    settings: dict[str, Any] = {}
    if page.compression in _JPEG:
        settings = {"jpegtables": page.jpegtables, "jpegheader": page.jpegheader}
    handle, missing = page.parent.filehandle, out.size
    for index in _segments(page, depth, rows, columns):
        handle.seek(page.dataoffsets[index])
        content = handle.read(page.databytecounts[index])
        segment, (sample, first_depth, top, left, _), _ = page.decode(content, index, **settings)
        plane = segment[depth - first_depth]
        here = (
            slice(max(rows.start, top), min(rows.stop, top + plane.shape[0])),
            slice(max(columns.start, left), min(columns.stop, left + plane.shape[1])),
        )
        inside = tuple(slice(s.start - o, s.stop - o) for s, o in zip(here, (top, left), strict=True))
        target = tuple(slice(s.start - o.start, s.stop - o.start) for s, o in zip(here, (rows, columns), strict=True))
        out[(sample, *target)] = plane[inside]
        missing -= plane[inside].size
    if missing:
        raise ValueError(f"{missing} of its values are missing")
    pixels = np.moveaxis(out[..., 0], 0, -1) if separate > 1 else out[0]
    return pixels[..., 0] if pixels.shape[-1] == 1 else pixels


def _segments(page: Any, depth: int, rows: slice, columns: slice) -> Iterator[int]:
    """Numbers of the strips or tiles that a box of a plane touches."""
    separate, page_depth, _, _, _ = page.shaped
    if page.is_tiled:
        deep, height, width = page.tiledepth, page.tilelength, page.tilewidth
    else:
        deep, height, width = 1, min(page.rowsperstrip, page.imagelength), page.imagewidth
    down, across = -(-page.imagelength // height), -(-page.imagewidth // width)
    for sample in range(separate):
        plane = sample * -(-page_depth // deep) + depth // deep
        for i in range(rows.start // height, -(-rows.stop // height)):
            for j in range(columns.start // width, -(-columns.stop // width)):
                yield (plane * down + i) * across + j


def _looked_up(pixels: np.ndarray, page: Any) -> np.ndarray:
    """Grey values of numbers into a table that has no colours; all other pixels as they are."""
    table = grey_table(np.asarray(page.colormap)) if page.photometric == 3 and page.colormap is not None else None
    return pixels if table is None else table[pixels]


def _said(error: Exception) -> str:
    return f"{error or type(error).__name__}".partition("\n")[0][:200]
