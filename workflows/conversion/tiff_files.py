"""The TIFF files of one volume, a few of them open at a time."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np

from .tiff_file import Page, TiffPages

_OPEN_FILES = 32


@dataclass(frozen=True)
class Plane:
    """Says where a plane lies.

    Args:
        file: number of its file.
        page: number of its page in the file.
        depth: in the page.
        behind: planes that lie between the first page's and this one, where it has no page of its own.
    """

    file: int
    page: int
    depth: int = 0
    behind: int = 0


class TiffFiles:
    """Reads the files of a volume; each is looked at when it is opened first.

    Args:
        paths: of the files, in the order of their numbers; more may be added.
    """

    def __init__(self, paths: Sequence[Path]) -> None:
        self.paths = list(paths)
        self._numbers = {path: number for number, path in enumerate(self.paths)}
        self._open: OrderedDict[int, TiffPages] = OrderedDict()
        self._pages: dict[int, list[Page]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for pages in self._open.values():
            pages.close()

    def __getitem__(self, number: int) -> TiffPages:
        """An open file.

        Raises:
            VolumeError: see `TiffPages`.
        """
        if number in self._open:
            self._open.move_to_end(number)
        else:
            self._open[number] = TiffPages(self.paths[number], self._pages.get(number))
            self._pages[number] = self._open[number].pages
            if len(self._open) > _OPEN_FILES:
                self._open.popitem(last=False)[1].close()
        return self._open[number]

    def add(self, path: Path) -> int:
        """Returns the number of a file, which may be a new one."""
        if path not in self._numbers:
            self._numbers[path] = len(self.paths)
            self.paths.append(path)
        return self._numbers[path]

    def know(self, pages: Sequence[list[Page]]) -> None:
        """Remember what the pages of all files are, so that they are not looked at again."""
        self._pages = dict(enumerate(pages))

    def pages(self, number: int) -> list[Page]:
        """Describes the pages of a file."""
        return self._pages[number] if number in self._pages else self[number].pages

    def page(self, plane: Plane) -> Page:
        """Describes the page of a plane."""
        return self.pages(plane.file)[plane.page]

    def read(self, plane: Plane, rows: slice, columns: slice, channel: int | None) -> np.ndarray:
        """Returns grey values (Y, X) of a box of a plane; errors as of `TiffPages.read`."""
        pages = self[plane.file]
        if plane.behind:
            return pages.read_behind(plane.behind, rows, columns)
        return pages.read(plane.page, plane.depth, rows, columns, channel)

    def name(self, plane: Plane) -> str:
        """Returns a plane's name for people."""
        number = plane.behind or plane.page
        alone = len(self.paths) > 1 and len(self.pages(plane.file)) == 1
        name = self.paths[plane.file].name if len(self.paths) > 1 else "page"
        return name if alone else f"{name} {number}"
