"""Axes and voxel size in the attributes that tools write beside an array: zarr, N5 and HDF5 without OME-NGFF."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from ..locations import Document
from .metadata import SPATIAL, Frame, axis_letters, impossible, lengths_in_nm, numbers

AXES_KEYS = ("axes", "axis_names", "_ARRAY_DIMENSIONS", "axistags", "dimension_names")
TRANSLATION_KEYS = ("offset", "translation", "origin")
SIZES = {"voxelsize": True, "resolution": True, "pixelsize": False, "elementsize": False, "spacing": False}
"""Attributes of a voxel's size, without _ and plural s, and whether they are in nm where nothing says their unit."""
UNITS_IN_NAMES = {"nm": "nm", "um": "µm", "µm": "µm", "micron": "µm", "angstrom": "Å", "mm": "mm"}
MOST_CHANNELS = 100
"""A longer first axis of four that have no names is rather z."""


def named_axes(attributes: Document, rank: int, *, x_first: bool = False) -> tuple[str, ...]:
    """Returns the axes that attributes name, in the array's own order; empty where they name none of this rank.

    Args:
        attributes: of the array.
        rank: how many axes it has.
        x_first: the array lists its fastest axis first, as N5 does; vigra's axistags never do.
    """
    for key in AXES_KEYS:
        names = _names(attributes.get(key))
        if len(names) == rank:
            return axis_letters(names[::-1] if x_first and key == "axistags" else names)
    return ()


def unnamed_axes(shape: Sequence[int]) -> tuple[str, ...]:
    """Returns the axes that an array in C order is taken to have where nothing is said: z, y, x, or c, z, y, x.

    Empty where four axes are rather z, y, x, c: a short last one, or a long first one.
    """
    if len(shape) == 3:
        return SPATIAL
    if len(shape) == 4 and not (shape[3] <= 4 < shape[0] or shape[3] == 1 < shape[0] or shape[0] > MOST_CHANNELS):
        return ("c", *SPATIAL)
    return ()


def attribute_frame(axes: tuple[str, ...], attributes: Document) -> Frame:
    """Returns a frame as funlib, Paintera, CREMI, N5 viewer, COSEM and ilastik write it.

    Keys are `voxel_size` or `resolution` (nm unless `units` or `unit` says otherwise), `pixelResolution`, `transform`,
    `element_size_um` and their relatives; `offset` or `translation` in the same unit. Values follow the axes.
    """
    transform = attributes.get("transform")
    if isinstance(transform, dict) and "scale" in transform:
        return _cosem_frame(axes, transform)
    found = [_size(axes, key, value, attributes) for key, value in attributes.items()]
    sizes = [size for size, _ in found if size]
    if not sizes:
        return Frame(axes, doubt="; ".join(doubt for _, doubt in found if doubt))
    if any(abs(size[n] - sizes[0][n]) > 1e-3 * size[n] for size in sizes for n in size):
        return Frame(axes, doubt="its attributes contradict one another: " + ", ".join(map(_listed, sizes)))
    return Frame(axes, sizes[0], _translation(axes, attributes))


def _size(axes: tuple[str, ...], key: str, value: object, attributes: Document) -> tuple[dict[str, float], str]:
    """The size that one attribute states in nm, and why it states none although its name promises one."""
    name, unit = _split(key)
    if name not in SIZES:
        return {}, ""
    if isinstance(value, dict) and "dimensions" in value:  # N5 viewer
        unit, value = value.get("unit", ""), value["dimensions"]
    lengths = _by_axis(value, axes)
    if lengths is None:
        return {}, f"its {key} is {_short(value)}, not a length for each of the axes {', '.join(axes)}"
    default = "nm" if SIZES[name] else None
    units = _units(key, attributes, axes, default) if unit is None else dict.fromkeys(axes, unit)
    size, doubt = lengths_in_nm(list(lengths), list(lengths.values()), units)
    doubt = doubt or impossible(size)
    return ({}, f"{key}: {doubt}") if doubt else (size, "")


def _split(key: str) -> tuple[str, object]:
    """A key's name without _, capitals and plural s, and the unit in it: element_size_um is elementsize and µm."""
    name = key.lower().replace("-", "_")
    head, _, tail = name.rpartition("_")
    unit = UNITS_IN_NAMES.get(tail)
    name = (head if unit else name).replace("_", "")
    return ("pixelsize" if name == "pixelresolution" else name.removesuffix("s")), unit


def _units(key: str, attributes: Document, axes: tuple[str, ...], default: str | None) -> Mapping[str, object]:
    """The unit of each axis, by the attributes beside a size."""
    for name in (f"{key}_units", f"{key}_unit", "units", "unit"):
        if name not in attributes:
            continue
        said = attributes[name]
        if isinstance(said, dict):
            return {str(n).lower(): unit for n, unit in said.items()}
        if isinstance(said, list):
            said = said * len(axes) if len(said) == 1 else said
            return dict(zip(axes[-len(said) :], said, strict=False)) if said else {}
        return dict.fromkeys(axes, said)
    return dict.fromkeys(axes, default)


def _translation(axes: tuple[str, ...], attributes: Document) -> dict[str, float]:
    for key in TRANSLATION_KEYS:
        lengths = _by_axis(attributes.get(key), axes)
        if lengths:
            units = _units(key, attributes, axes, "nm")
            return lengths_in_nm(list(lengths), list(lengths.values()), units)[0]
    return {}


def _cosem_frame(axes: tuple[str, ...], transform: Document) -> Frame:
    """COSEM's `transform` names its own axes."""
    own = transform.get("axes")
    names = axis_letters(own) if isinstance(own, list) else axes
    scale, units = numbers(transform.get("scale")), transform.get("units")
    if scale is None or len(scale) != len(names) or not isinstance(units, list) or len(units) != len(names):
        return Frame(axes, doubt=f"its transform is {_short(transform)}")
    by_name = dict(zip(names, units, strict=True))
    size, doubt = lengths_in_nm(names, scale, by_name)
    doubt = doubt or impossible(size)
    if doubt:
        return Frame(axes, doubt=doubt)
    shift = numbers(transform.get("translate"))
    fits = shift is not None and len(shift) == len(names)
    return Frame(axes, size, lengths_in_nm(names, shift or [], by_name)[0] if fits else {})


def _by_axis(values: object, axes: tuple[str, ...]) -> dict[str, float] | None:
    """Lengths by the names of the spatial axes: one for all, three, or one for each axis; None: something else."""
    spatial = [n for n in axes if n in SPATIAL]
    if isinstance(values, dict):
        named = {str(n).lower(): v for n, v in values.items()}
        values = [named.get(n) for n in spatial]
    given = numbers(values if isinstance(values, list) else [values])
    if given is None or set(spatial) != set(SPATIAL):
        return None
    if len(given) == 1:
        return dict.fromkeys(spatial, given[0])
    names = axes if len(given) == len(axes) else spatial
    if len(given) != len(names):
        return None
    return {n: v for n, v in zip(names, given, strict=True) if n in SPATIAL}


def _names(value: Any) -> list[str]:
    """Names of axes out of a list, "zyx", "z,y,x", or vigra's axistags."""
    if isinstance(value, str) and value.lstrip().startswith("{"):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            return []
    if isinstance(value, dict):  # vigra, in ilastik's exports
        tags = value.get("axes")
        value = [tag.get("key") for tag in tags if isinstance(tag, dict)] if isinstance(tags, list) else []
    if isinstance(value, str):
        value = value.replace(" ", "").split(",") if "," in value else list(value)
    return [str(name) for name in value] if isinstance(value, list) else []


def _listed(size: Mapping[str, float]) -> str:
    return " × ".join(f"{length:g}" for length in size.values()) + " nm"


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}…"
