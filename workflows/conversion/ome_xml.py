"""OME-XML: which plane of which file is which section, and how large a voxel is."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ...pipeline.errors import VolumeError
from ...pipeline.volumes.metadata import SPATIAL, Frame, impossible, lengths_in_nm

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

MICROMETRE = "µm"
"""Unit of OME's physical sizes where none is stated."""
_MOST_PLANES = 1 << 24


@dataclass(frozen=True)
class TiffData:
    """Describes a run of planes: the first one's place, and where it is stored.

    Args:
        first: place along c, z, t.
        page: number of its page in the file; None: from the first page on.
        count: of planes; None: all of the file's pages.
        file: name of the file, if it is named.
        uuid: of the file, if it is stated.
    """

    first: dict[str, int]
    page: int | None
    count: int | None
    file: str | None
    uuid: str | None


@dataclass(frozen=True)
class OmeImage:
    """Describes one image of OME-XML.

    Args:
        name: for people; may be empty.
        lengths: of the axes c, z, t, and of y and x, by name; channels count as planes.
        order: of the planes, the fastest first, such as "zct".
        runs: of planes.
        frame: voxel size.
    """

    name: str
    lengths: dict[str, int]
    order: str
    runs: tuple[TiffData, ...]
    frame: Frame = field(default_factory=Frame)

    @property
    def planes(self) -> int:
        """Counts the planes that the image has by its metadata."""
        return self.lengths["c"] * self.lengths["z"] * self.lengths["t"]

    def places(self, first: dict[str, int], count: int) -> Iterator[tuple[int, int, int]]:
        """Returns (c, z, t) of so many planes from one on, in the order in which they are stored."""
        ranges = [range(self.lengths[axis]) for axis in reversed(self.order)]
        start = 0
        for axis in reversed(self.order):
            start = start * self.lengths[axis] + first[axis]
        for place in itertools.islice(itertools.product(*ranges), start, start + count):
            by_axis = dict(zip(reversed(self.order), place, strict=True))
            yield by_axis["c"], by_axis["z"], by_axis["t"]


@dataclass(frozen=True)
class OmeDocument:
    """Lists the images of OME-XML, the identifier of its file, and the file that has the rest, if another."""

    images: tuple[OmeImage, ...]
    uuid: str | None
    elsewhere: str | None


def parse_ome(text: str, where: str) -> OmeDocument:
    """Returns the images of OME-XML.

    Raises:
        VolumeError: it is none.
    """
    from xml.etree import ElementTree

    try:
        root = ElementTree.fromstring(text.strip("\0 \r\n\t").encode())
        elsewhere = next((_get(e, "MetadataFile") for e in root if _tag(e) == "BinaryOnly"), None)
        images = tuple(_image(image) for image in root if _tag(image) == "Image")
    except (ElementTree.ParseError, ValueError, KeyError, RecursionError) as error:
        raise VolumeError(
            f"The OME metadata of {where} cannot be understood: {error}. "
            "Take the pages as they come, one section each: --axes zyx"
        ) from error
    return OmeDocument(images, root.get("UUID"), elsewhere)


def _image(image: Element) -> OmeImage:
    pixels = next(e for e in image if _tag(e) == "Pixels") if any(_tag(e) == "Pixels" for e in image) else None
    if pixels is None:
        raise ValueError("an Image has no Pixels")
    channels = [e for e in pixels if _tag(e) == "Channel"]
    samples = max([int(e.get("SamplesPerPixel", 1)) for e in channels], default=1)
    lengths = {axis: int(pixels.get(f"Size{axis.upper()}", 1)) for axis in "cztyx"}
    lengths["c"] = max(1, lengths["c"] // samples)
    planes = lengths["c"] * lengths["z"] * lengths["t"]
    if min(lengths.values()) < 1 or planes > _MOST_PLANES:
        raise ValueError(f"sizes {lengths}")
    order = pixels.get("DimensionOrder", "XYZCT").lower()
    if sorted(order) != sorted("xyzct") or not order.startswith("xy"):
        raise ValueError(f"DimensionOrder {order!r}")
    runs = tuple(_run(e) for e in pixels if _tag(e) == "TiffData")
    return OmeImage(image.get("Name") or image.get("ID") or "", lengths, order[2:], runs, _frame(pixels))


def _run(data: Element) -> TiffData:
    inner = next((e for e in data if _tag(e) == "UUID"), None)
    page, count = data.get("IFD"), data.get("PlaneCount", data.get("NumPlanes"))
    first = {axis: int(data.get(f"First{axis.upper()}", 0)) for axis in "czt"}
    if min(first.values()) < 0 or (page is not None and int(page) < 0):
        raise ValueError("a TiffData counts below 0")
    return TiffData(
        first=first,
        page=None if page is None else int(page),
        count=None if count is None else int(count),
        file=None if inner is None else inner.get("FileName"),
        uuid=None if inner is None or inner.text is None else inner.text.strip(),
    )


def _frame(pixels: Element) -> Frame:
    stated = {name: pixels.get(f"PhysicalSize{name.upper()}") for name in SPATIAL}
    if not any(stated.values()):
        return Frame(SPATIAL)
    missing = [name for name in SPATIAL if not stated[name]]
    if missing:
        return Frame(SPATIAL, doubt=f"OME's metadata does not state it along {', '.join(missing)}")
    try:
        values = [float(str(stated[name])) for name in SPATIAL]
    except ValueError:
        return Frame(SPATIAL, doubt=f"OME's metadata states {stated}")
    units = {name: pixels.get(f"PhysicalSize{name.upper()}Unit", MICROMETRE) for name in SPATIAL}
    size, doubt = lengths_in_nm(SPATIAL, values, units)
    doubt = doubt or impossible(size)
    return Frame(SPATIAL, doubt=doubt) if doubt else Frame(SPATIAL, size)


def _tag(element: Element) -> str:
    return re.sub(r"^\{.*\}", "", str(element.tag))


def _get(element: Element, name: str) -> str | None:
    return element.get(name)
