"""Reads what ImageJ and tifffile write into a TIFF beside its pages: numbers of planes, and the size of a voxel."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import Any

from ...pipeline.volumes.metadata import SPATIAL, Frame, impossible, lengths_in_nm


@dataclass(frozen=True)
class Promise:
    """Counts the planes that metadata promises.

    Args:
        axes: names of the axes before y and x, the slowest first; empty strings where they have none.
        lengths: of these axes.
        program: that wrote the metadata, for messages.
    """

    axes: tuple[str, ...]
    lengths: tuple[int, ...]
    program: str


def imagej_promise(file: Any, samples: int) -> Promise | None:
    """Returns the planes of an ImageJ hyperstack, or None where its numbers contradict one another or are none.

    Args:
        file: tifffile's view of the file.
        samples: of a pixel of its first page.
    """
    said = file.imagej_metadata or {}
    numbers = {key: said.get(key, 1) for key in ("frames", "slices", "channels")}
    if not all(isinstance(n, int) and n > 0 for n in numbers.values()):
        return None
    if numbers["channels"] == samples > 1:
        numbers["channels"] = 1
    total = numbers["frames"] * numbers["slices"] * numbers["channels"]
    images = said.get("images", total)
    if total == 1 and isinstance(images, int) and images > 1:
        numbers["slices"] = total = images
    order = str(said.get("order", "czt")).lower()
    if images not in (total, 1) or (order not in ("czt", "default") and sum(n > 1 for n in numbers.values()) > 1):
        return None
    return Promise(("t", "z", "c"), (numbers["frames"], numbers["slices"], numbers["channels"]), "ImageJ")


def imagej_frame(file: Any, page: Any) -> Frame:
    """Reads the voxel size that ImageJ states: a unit, the resolution in the plane, the spacing of the sections."""
    said = file.imagej_metadata or {}
    unit = said.get("unit")
    x, y = (_pixels_a_unit(page, f"{axis}Resolution") for axis in "XY")
    spacing = said.get("spacing")
    if unit is None and spacing is None:
        return Frame(SPATIAL)
    if x is None or y is None or not isinstance(spacing, int | float):
        missing = "its spacing along z" if not isinstance(spacing, int | float) else "a resolution in the plane"
        return Frame(SPATIAL, doubt=f"ImageJ's metadata has the unit {unit!r}, but not {missing}")
    units = {"z": said.get("zunit", unit), "y": said.get("yunit", unit), "x": unit}
    size, doubt = lengths_in_nm(SPATIAL, [float(spacing), 1 / y, 1 / x], units)
    doubt = doubt or impossible(size)
    return Frame(SPATIAL, doubt=doubt) if doubt else Frame(SPATIAL, size)


def _pixels_a_unit(page: Any, name: str) -> float | None:
    tag = page.tags.get(name)
    value = None if tag is None else tag.value
    if not isinstance(value, tuple) or len(value) != 2 or not all(isinstance(v, int) and v > 0 for v in value):
        return None
    return float(value[0] / value[1])


def shaped_promises(pages: list[tuple[str | None, tuple[int, ...]]]) -> list[tuple[int, Promise | None]]:
    """Returns the series that tifffile wrote one behind the other: (first page, its planes).

    A page that belongs to no series is one of its own, with None.

    Args:
        pages: (tifffile's description, shape) of each page.
    """
    import tifffile.tifffile as t

    found: list[tuple[int, Promise | None]] = []
    number = 0
    while number < len(pages):
        description, shape = pages[number]
        promise = None
        with contextlib.suppress(ValueError):  # of descriptions that are damaged
            said = None if description is None else t.shaped_description_metadata(description)
            promise = _shaped_promise(said, shape)
        found.append((number, promise))
        planes = 1
        for length in promise.lengths if promise else ():
            planes *= length
        number += max(1, planes)
    return found


def _shaped_promise(said: Any, page: tuple[int, ...]) -> Promise | None:
    shape = said.get("shape") if isinstance(said, dict) else None
    if not isinstance(shape, list | tuple) or not all(isinstance(n, int) and n > 0 for n in shape):
        return None
    axes = said.get("axes")
    named = isinstance(axes, str) and len(axes) == len(shape)
    names = tuple(axes.lower()) if named else ("",) * len(shape)
    inner = len(page)
    if tuple(shape[-inner:]) != page:
        return None
    outer = [(n, length) for n, length in zip(names[:-inner], shape[:-inner], strict=True) if n or length > 1]
    plain = {"i": "z", "q": "z"}
    letters = tuple(plain.get(n, n) for n, _ in outer)
    if letters == ("",):
        letters = ("z",)
    return Promise(letters, tuple(length for _, length in outer), "tifffile")
