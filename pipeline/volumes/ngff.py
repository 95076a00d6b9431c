"""OME-NGFF, versions 0.1 to 0.6: which arrays an image has, and the axes and voxel size of each."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from ..locations import Document
from .metadata import SPATIAL, Frame, axis_letters, impossible, lengths_in_nm, numbers
from .spec import VolumeSpec

BEFORE_AXES = ("t", "c", "z", "y", "x")
"""Axes of all images before version 0.3."""


def images(attributes: Document) -> list[Document]:
    """Returns the multiscale images of a group that have a level; from version 0.5 on they lie under `ome`."""
    ome = attributes.get("ome")
    found = _documents(ome.get("multiscales")) if isinstance(ome, dict) else []
    return [image for image in found or _documents(attributes.get("multiscales")) if levels(image)]


def levels(image: Document) -> list[str]:
    """Returns the paths of an image's arrays, the finest first."""
    return [path.strip("/") for d in _documents(image.get("datasets")) if isinstance(path := d.get("path"), str)]


def finer_levels(image: Document) -> tuple[str, ...]:
    """Words a remark where the first level of an image is not its finest."""
    scales: dict[str, float] = {}
    for dataset in _documents(image.get("datasets")):
        for transform in _documents(dataset.get("coordinateTransformations")):
            factors = numbers(transform.get("scale"))
            if factors is not None:
                scales.setdefault(str(dataset.get("path")), math.prod(factors))
    first = next(iter(levels(image)), "")
    finest = min(scales, key=lambda path: scales[path], default=first)
    if first not in scales or scales[finest] >= scales[first]:
        return ()
    return (f"Its first level, {first}, is read; its level {finest} is finer",)


def ome_frame(image: Document, level: str, rank: int, named: tuple[str, ...] | None = None) -> Frame | None:
    """Returns the frame of one level of an image, or None if it has no such level.

    Args:
        image: an entry of `multiscales`.
        level: the path of an array, as `levels` gives it.
        rank: how many axes the array has.
        named: its axes, instead of those that the metadata names.
    """
    found = (d for d in _documents(image.get("datasets")) if str(d.get("path", "")).strip("/") == level)
    dataset = next(found, None)
    if dataset is None:
        return None
    transforms = _documents(dataset.get("coordinateTransformations"))
    axes, more = _axes_and_transforms(image, transforms, rank)
    names = axis_letters([str(a.get("name", "")) for a in axes])
    if named is not None and len(named) == len(names):
        names = named
    if len(names) != rank:
        return Frame(doubt=f"it names {len(names)} axes of {rank}" if names else "")
    scale, shift, doubt = _composed([*transforms, *more], rank)
    if doubt or scale is None:
        return Frame(names, doubt=doubt)
    units = {n: a.get("unit") for n, a in zip(names, axes, strict=True)}
    size, doubt = lengths_in_nm(names, scale, units)
    doubt = doubt or impossible(size)
    if doubt:
        return Frame(names, doubt=doubt)
    return Frame(names, size, lengths_in_nm(names, shift, units)[0])


def _axes_and_transforms(
    image: Document, transforms: list[Document], rank: int
) -> tuple[list[Document], list[Document]]:
    """The axes in which a level has its size, and the transforms of the whole image that lead there."""
    of_image = _documents(image.get("coordinateTransformations"))
    systems = {_name(s): _axes(s.get("axes")) for s in _documents(image.get("coordinateSystems"))}
    if systems:  # from version 0.6 on
        here = _name(transforms[-1].get("output")) if transforms else ""
        axes = systems.get(here, next(iter(systems.values())))
        for transform in of_image:
            there = systems.get(_name(transform.get("output")))
            if there and _name(transform.get("input")) == here and not _has_lengths(axes) and _has_lengths(there):
                return there, [transform]
        return axes, []
    axes = _axes(image.get("axes"))
    if not axes and rank == len(BEFORE_AXES):
        axes = [{"name": n} for n in BEFORE_AXES]
    return axes, of_image


def _axes(axes: object) -> list[Document]:
    if not isinstance(axes, list):
        return []
    return [a if isinstance(a, dict) else {"name": str(a)} for a in axes]  # version 0.3 has names alone


def _has_lengths(axes: list[Document]) -> bool:
    names = axis_letters([str(a.get("name", "")) for a in axes])
    units = {n: a.get("unit") for n, a in zip(names, axes, strict=True)}
    return len(lengths_in_nm(names, [1.0] * len(names), units)[0]) == len(SPATIAL)


def _composed(transforms: list[Document], rank: int) -> tuple[list[float] | None, list[float], str]:
    """Scale (None if there is none) and shift that transforms come to, one after the other, or why they have none."""
    scale, shift, given = [1.0] * rank, [0.0] * rank, False
    for transform in _flattened(transforms):
        kind = transform.get("type")
        if kind == "identity":
            continue
        factors = _diagonal(transform, rank) if kind == "affine" else _pair(transform, kind, rank)
        if factors is None:
            return None, shift, f"its transformation {kind!r} is none that scales and shifts {rank} axes"
        given = given or kind != "translation"
        scale = [s * f for s, f in zip(scale, factors[0], strict=True)]
        shift = [t * f + d for t, f, d in zip(shift, *factors, strict=True)]
    return scale if given else None, shift, ""


def _flattened(transforms: list[Document]) -> Iterator[Document]:
    for transform in transforms:
        if transform.get("type") == "sequence":
            yield from _flattened(_documents(transform.get("transformations")))
        else:
            yield transform


Pair = tuple[list[float], list[float]]


def _pair(transform: Document, kind: object, rank: int) -> Pair | None:
    """The factors and shifts of a scale or translation."""
    values = numbers(transform.get(str(kind))) if kind in ("scale", "translation") else None
    if values is None or len(values) != rank:
        return None
    return (values, [0.0] * rank) if kind == "scale" else ([1.0] * rank, values)


def _diagonal(transform: Document, rank: int) -> Pair | None:
    """The factors and shifts of an affine transformation that neither turns nor shears."""
    rows = transform.get("affine")
    matrix = [numbers(row) for row in rows] if isinstance(rows, list) else []
    if len(matrix) < rank or any(row is None or len(row) != rank + 1 for row in matrix[:rank]):
        return None
    known = [row for row in matrix[:rank] if row is not None]
    if any(v for i, row in enumerate(known) for j, v in enumerate(row[:rank]) if i != j):
        return None
    return [row[i] for i, row in enumerate(known)], [row[rank] for row in known]


def _documents(values: object) -> list[Document]:
    return [v for v in values if isinstance(v, dict)] if isinstance(values, list) else []


def _name(value: object) -> str:
    """The name of a coordinate system, which drafts of version 0.6 wrap into an object."""
    if isinstance(value, Mapping):
        value = value.get("name", value.get("path", ""))
    return str(value or "")


def ome_attributes(spec: VolumeSpec, name: str) -> Document:
    """Returns the attributes of an OME-Zarr 0.5 group that holds a volume as its level `0`."""
    axes: list[Document] = [{"name": n, "type": "space", "unit": "nanometer"} for n in SPATIAL]
    size, translation = list(spec.voxel_size), list(spec.translation)
    if spec.channels is not None:
        axes = [{"name": "c", "type": "channel"}, *axes]
        size, translation = [1.0, *size], [0.0, *translation]
    transforms: list[dict[str, Any]] = [
        {"type": "scale", "scale": size},
        {"type": "translation", "translation": translation},
    ]
    only = [{"path": "0", "coordinateTransformations": transforms}]
    ours = {} if spec.offsets is None else {"offsets": [list(o) for o in spec.offsets]}
    return {
        "ome": {"version": "0.5", "multiscales": [{"name": name, "axes": axes, "datasets": only}]},
        "petavox": ours,
    }
