"""Planes that are read one by one, seen as one array."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from ...pipeline.locations import Document
from ...pipeline.volumes.arrays import ReadArray, Where
from ...pipeline.volumes.metadata import Frame

ReadPlane = Callable[[int, slice, slice], np.ndarray]
"""Grey values (Y, X) of a box (rows, columns) of the plane with a number."""


@dataclass(frozen=True)
class Content:
    """Holds an array of a foreign format and what the format says of it.

    Args:
        array: in its own order of axes.
        axes: their names, one letter each; empty where nothing is known.
        frame: voxel size and position; its axes are not looked at.
        attributes: what else was written beside it.
        sections: how many there are and which is the first and the last, for people; empty where that means nothing.
        remarks: what a user must be told.
        samples: of a pixel, of which one is read.
    """

    array: ReadArray
    axes: tuple[str, ...]
    frame: Frame = field(default_factory=Frame)
    attributes: Document = field(default_factory=dict)
    sections: str = ""
    remarks: tuple[str, ...] = ()
    samples: int = 1


def in_words(count: int, first: str, last: str) -> str:
    """Words how many sections there are, from which to which."""
    return f"{count} sections, {first} to {last}" if count > 1 else f"1 section, {first}"


def stack_of(lengths: tuple[int, ...], plane: tuple[int, int], dtype: str, read: ReadPlane) -> ReadArray:
    """Returns an array of planes.

    Args:
        lengths: of the axes before y and x; planes are numbered along them in C order.
        plane: y, x pixels of each.
        dtype: a numpy type's name.
        read: one plane's box.
    """
    strides = [math.prod(lengths[axis + 1 :]) for axis in range(len(lengths))]

    def read_box(where: Where) -> np.ndarray:
        outer = [range(*part.indices(n)) for part, n in zip(where[:-2], lengths, strict=True)]
        rows, columns = (slice(*part.indices(n)) for part, n in zip(where[-2:], plane, strict=True))
        out = np.empty((*map(len, outer), rows.stop - rows.start, columns.stop - columns.start), dtype)
        for place in itertools.product(*(range(len(r)) for r in outer)):
            number = sum(r[i] * stride for r, i, stride in zip(outer, place, strides, strict=True))
            out[place] = read(number, rows, columns)
        return out

    shape = (*lengths, *plane)
    chunk = (*[1] * len(lengths), *plane)
    return ReadArray(shape, dtype, 0, chunk, chunk, read_box)
