"""The voxel size of an N5 array: of its own attributes, or of those of its group, at its level of a pyramid."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace

from ..locations import Document
from .attributes import attribute_frame
from .metadata import SPATIAL, Frame, numbers
from .ngff import images

ARRAY_KEYS = ("dimensions", "blockSize", "dataType", "compression", "compressionType")
"""Metadata of the format itself; all else is written by users and tools."""


def n5_frame(axes: tuple[str, ...], name: str, own: Document, above: Sequence[Document], first: Document) -> Frame:
    """Returns the frame of an N5 array in its own attributes, or else in those of the groups above.

    A level of a pyramid has the size of the full resolution times its `downsamplingFactors`, and its first voxel lies
    in the middle of the voxels that it was made of.

    Args:
        axes: of the array, x first.
        name: of its folder, such as s1.
        own: its attributes.
        above: the attributes of the groups above, the nearest first.
        first: the attributes of level s0 beside it; empty if there is none.
    """
    frame = attribute_frame(axes, own)
    is_own = frame.voxel_size is not None or bool(frame.doubt)
    states_level = "transform" in own
    if not is_own:
        frame, states_level = _inherited(axes, name, above)
    if frame.voxel_size is None or states_level:
        return frame
    frame, factors = replace(frame, remarks=_order_remark(frame)), _factors(axes, name, own, above)
    if factors is None:
        if is_own or not re.fullmatch(r"s[1-9]\d*", name):
            return frame
        return Frame(axes, doubt=f"its group states that of the full resolution, and nothing the factors of {name}")
    if is_own and _of_this_level(axes, own, first):
        return frame if frame.translation else _in_the_middle(frame, factors)
    return _downsampled(frame, factors)


def _inherited(axes: tuple[str, ...], name: str, above: Sequence[Document]) -> tuple[Frame, bool]:
    """The frame that the nearest group with one states, and whether it states it for each level, as COSEM does."""
    for attributes in above:
        for image in images(attributes):
            for dataset in image["datasets"]:
                is_level = isinstance(dataset, dict) and str(dataset.get("path", "")).strip("/") == name
                if is_level and isinstance(dataset.get("transform"), dict):
                    return attribute_frame(axes, {"transform": dataset["transform"]}), True
        frame = attribute_frame(axes, attributes)
        if frame.voxel_size is not None or frame.doubt:
            return frame, False
    return Frame(axes), False


def _factors(axes: tuple[str, ...], name: str, own: Document, above: Sequence[Document]) -> Mapping[str, float] | None:
    """By how much each axis is coarser than at full resolution; None where nothing says so."""
    found = _by_axis(own.get("downsamplingFactors"), axes)
    level = re.fullmatch(r"s(\d+)", name)
    if found is not None or level is None:
        return found
    for attributes in above:
        for key in ("downsamplingFactors", "scales"):
            of_levels = attributes.get(key)
            if isinstance(of_levels, list) and int(level[1]) < len(of_levels):
                found = _by_axis(of_levels[int(level[1])], axes)
                if found is not None:
                    return found
    return None


def _by_axis(values: object, axes: tuple[str, ...]) -> Mapping[str, float] | None:
    spatial = [n for n in axes if n in SPATIAL]
    given = numbers(values if isinstance(values, list) else [values])
    if given is None or min(given) <= 0:
        return None
    if len(given) == 1:
        return dict.fromkeys(spatial, given[0])
    names = axes if len(given) == len(axes) else spatial
    return dict(zip(names, given, strict=True)) if len(names) == len(given) else None


def _of_this_level(axes: tuple[str, ...], own: Document, first: Document) -> bool:
    """Tells whether an array states its own level's size: where it differs from that of level s0."""
    if "pixelResolution" in own or not first or first is own:
        return False
    there = attribute_frame(axes, first).voxel_size
    return there is not None and there != attribute_frame(axes, own).voxel_size


def _downsampled(frame: Frame, factors: Mapping[str, float]) -> Frame:
    size = {n: length * factors[n] for n, length in frame.size.items()}
    middle = {n: frame.translation.get(n, 0.0) + (factors[n] - 1) / 2 * length for n, length in frame.size.items()}
    return replace(frame, size=size, translation=middle)


def _in_the_middle(frame: Frame, factors: Mapping[str, float]) -> Frame:
    """The frame of a level that states its own size, and not where it lies."""
    middle = {n: (1 - 1 / factors[n]) / 2 * length for n, length in frame.size.items()}
    return replace(frame, translation=middle)


def _order_remark(frame: Frame) -> tuple[str, ...]:
    """A voxel that is longest along x was probably written in the order z, y, x."""
    z, y, x = (frame.size[n] for n in SPATIAL)
    if z >= max(y, x) * 0.99:
        return ()
    return (
        f"Its resolution was read in the order x, y, z, as N5 has it: {z:g} × {y:g} × {x:g} nm (z, y, x). "
        f"z5 and its relatives write z, y, x: if this one does, give --voxel-size {x:g},{y:g},{z:g}",
    )
