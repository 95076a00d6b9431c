"""Axes, voxel size, translation and affinity offsets, as the formats write them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..errors import VolumeError
from ..geometry import Triple, triple
from .spec import VolumeSpec
from .stores import Document, Found

SPATIAL = ("z", "y", "x")
AXIS_NAMES = {"channel": "c", "channels": "c", "c^": "c", "time": "t"}
NANOMETRES = {
    "": 1.0,
    "nanometer": 1.0,
    "nm": 1.0,
    "angstrom": 0.1,
    "picometer": 1e-3,
    "micrometer": 1e3,
    "micron": 1e3,
    "um": 1e3,
    "µm": 1e3,
    "millimeter": 1e6,
    "mm": 1e6,
    "meter": 1e9,
    "m": 1e9,
}


@dataclass(frozen=True)
class Frame:
    """What metadata says of an array; whatever it does not say is empty.

    Args:
        axes: one-letter names in the array's own order.
        size: nm a voxel, by axis name.
        translation: nm, by axis name.
    """

    axes: tuple[str, ...] = ()
    size: Mapping[str, float] = field(default_factory=dict)
    translation: Mapping[str, float] = field(default_factory=dict)


def axis_letters(names: Sequence[str]) -> tuple[str, ...]:
    """Axis names in one letter each, lower case."""
    return tuple(AXIS_NAMES.get(str(n).lower(), str(n).lower()) for n in names)


def in_nanometres(unit: str, where: str) -> float:
    """How many nm a unit of length has.

    Raises:
        VolumeError: the unit is not a known length.
    """
    try:
        return NANOMETRES[unit.lower()]
    except KeyError:
        known = ", ".join(sorted(u for u in NANOMETRES if u))
        raise VolumeError(f"Unknown unit of length {unit!r} in {where}; known are {known}.") from None


def arrange(axes: tuple[str, ...], shape: Sequence[int], path: str, *, keep_channel: bool) -> tuple[list[int], int]:
    """How to bring an array into (C,) Z, Y, X.

    Returns:
        (order, dropped): the array's axes in their new order, and how many of the first, all of length 1, then go.

    Raises:
        VolumeError: the axes are not z, y, x with at most one longer channel axis beside them.
    """
    lengths = dict(zip(axes, shape, strict=False))
    dropped = [n for n in axes if n not in SPATIAL and lengths.get(n) == 1 and not (n == "c" and keep_channel)]
    left = [n for n in axes if n not in SPATIAL and n not in dropped]
    unique = len(axes) == len(shape) == len(set(axes))
    if not unique or not set(SPATIAL) <= set(axes) or left not in ([], ["c"]):
        names = f"the axes {', '.join(axes)}" if axes else f"{len(shape)} unnamed axes"
        raise VolumeError(
            f"A volume has the axes z, y, x or c, z, y, x; {path} has {names} (shape {tuple(shape)}). "
            "If they are misnamed, name them in the array's own order: in a recipe, beside the path, axes = 'zyx'; or "
            f"in a copy: petavox convert {path} NEW.zarr --axes zyx"
        )
    return [axes.index(n) for n in (*dropped, *left, *SPATIAL)], len(dropped)


# --- OME-NGFF -------------------------------------------------------------------------------------------------------


def multiscales(attributes: Document) -> Document | None:
    """The first multiscale image of a group: OME-NGFF 0.5 keeps it under `ome`, earlier versions at the top."""
    images = attributes.get("ome", attributes).get("multiscales")
    return images[0] if isinstance(images, list) and images and "datasets" in images[0] else None


def ome_frame(image: Document, level: str, where: str) -> Frame | None:
    """The frame of one level of a multiscale image, or None if it has no such level."""
    dataset = next((d for d in image["datasets"] if str(d.get("path", "")).strip("/") == level), None)
    if dataset is None:
        return None
    axes = image.get("axes", list("tczyx"))  # before version 0.3 the axes were always these
    axes = [{"name": a} if isinstance(a, str) else a for a in axes]
    names = axis_letters([a["name"] for a in axes])
    scale, shift = [1.0] * len(names), [0.0] * len(names)
    given = False
    for transform in (*dataset.get("coordinateTransformations", ()), *image.get("coordinateTransformations", ())):
        if transform.get("type") == "scale":
            given = True
            scale = [s * float(f) for s, f in zip(scale, transform["scale"], strict=True)]
            shift = [t * float(f) for t, f in zip(shift, transform["scale"], strict=True)]
        elif transform.get("type") == "translation":
            shift = [t + float(d) for t, d in zip(shift, transform["translation"], strict=True)]
    units = {n: a.get("unit") for n, a in zip(names, axes, strict=True) if n in SPATIAL}
    if not given or None in units.values():
        return Frame(names)  # a scale without a unit is not a voxel size
    nm = {n: in_nanometres(str(unit), where) for n, unit in units.items()}
    by_name = {n: (s * nm[n], t * nm[n]) for n, s, t in zip(names, scale, shift, strict=True) if n in nm}
    return Frame(names, {n: s for n, (s, _) in by_name.items()}, {n: t for n, (_, t) in by_name.items()})


def ome_attributes(spec: VolumeSpec, name: str) -> Document:
    """The attributes of an OME-Zarr 0.5 group that holds a volume as its level `0`."""
    axes: list[Document] = [{"name": n, "type": "space", "unit": "nanometer"} for n in SPATIAL]
    size, translation = list(spec.voxel_size), list(spec.translation)
    if spec.channels is not None:
        axes = [{"name": "c", "type": "channel"}, *axes]
        size, translation = [1.0, *size], [0.0, *translation]
    transforms = [{"type": "scale", "scale": size}, {"type": "translation", "translation": translation}]
    levels = [{"path": "0", "coordinateTransformations": transforms}]
    ours = {} if spec.offsets is None else {"offsets": [list(o) for o in spec.offsets]}
    return {
        "ome": {"version": "0.5", "multiscales": [{"name": name, "axes": axes, "datasets": levels}]},
        "petavox": ours,
    }


# --- N5, plain zarr, precomputed ------------------------------------------------------------------------------------


def plain_frame(found: Found, store: Any) -> Frame:
    """The frame of an array from its own metadata, as TensorStore and the common attributes have it."""
    axes = _plain_axes(found, store)
    attributes, where = found.attributes, found.place.path
    units = {n: u for n, u in zip(axes, store.dimension_units, strict=False) if u is not None}
    if all(n in units for n in SPATIAL):  # precomputed, and N5 or zarr written by TensorStore
        size = {n: units[n].multiplier * in_nanometres(units[n].base_unit, where) for n in SPATIAL}
        origin = dict(zip(axes, store.domain.origin, strict=True))
        return Frame(axes, size, {n: origin[n] * size[n] for n in SPATIAL})
    if "transform" in attributes and "scale" in attributes["transform"]:  # COSEM
        t = attributes["transform"]
        names = axis_letters(t.get("axes", axes))
        nm = [in_nanometres(str(u), where) for u in t.get("units", [""] * len(names))]
        size = {n: float(s) * u for n, s, u in zip(names, t["scale"], nm, strict=True)}
        shift = {n: float(s) * u for n, s, u in zip(names, t.get("translate", [0] * len(names)), nm, strict=True)}
        return Frame(axes, size, shift)
    pixel = attributes.get("pixelResolution")  # N5 viewer
    if isinstance(pixel, dict) and "dimensions" in pixel:
        nm_ = in_nanometres(str(pixel.get("unit", "")), where)
        return Frame(axes, {n: float(s) * nm_ for n, s in zip(axes, pixel["dimensions"], strict=False)})
    return attribute_frame(axes, attributes, where)


def _plain_axes(found: Found, store: Any) -> tuple[str, ...]:
    labels = store.domain.labels
    if all(labels):
        return axis_letters(labels)
    for key in ("axes", "axis_names", "_ARRAY_DIMENSIONS"):
        names = found.attributes.get(key)
        if isinstance(names, list) and len(names) == store.rank:
            return axis_letters(names)
    order = {3: ("z", "y", "x"), 4: ("c", "z", "y", "x")}.get(store.rank, ())
    return order[::-1] if found.array_format == "n5" else order  # N5 lists the fastest axis first


def attribute_frame(axes: tuple[str, ...], attributes: Document, where: str) -> Frame:
    """As funlib, Paintera and CREMI do: `resolution` or `voxel_size`, `offset` in world units, perhaps `units`."""
    size = _by_axis(attributes.get("voxel_size", attributes.get("resolution")), axes)
    if not size:
        return Frame(axes)
    units = attributes.get("units", "")
    units = (
        dict.fromkeys(axes, units) if isinstance(units, str) else dict(zip(axes[-len(units) :], units, strict=False))
    )
    nm = {n: in_nanometres(str(units.get(n, "")), where) for n in SPATIAL}
    shift = _by_axis(attributes.get("offset", attributes.get("translation")), axes)
    return Frame(axes, {n: s * nm[n] for n, s in size.items()}, {n: t * nm[n] for n, t in shift.items()})


def _by_axis(values: object, axes: tuple[str, ...]) -> dict[str, float]:
    """Three numbers, or one for each axis, by the names of the spatial axes; nothing if they are something else."""
    spatial = [n for n in axes if n in SPATIAL]
    if not isinstance(values, list) or not all(isinstance(v, int | float) for v in values):
        return {}
    names = axes if len(values) == len(axes) else spatial
    pairs = zip(names, values, strict=True) if len(values) == len(names) else ()
    return {n: float(v) for n, v in pairs if n in SPATIAL}


# --- affinities -----------------------------------------------------------------------------------------------------


def affinity_offsets(attributes: Document, where: str) -> tuple[Triple, ...] | None:
    """The offsets of affinity channels, in our convention: channel c at p is the edge of p and p − offset.

    Other tools (funlib, volara, affogato) write a neighbourhood that is added to p, so theirs change sign.

    Raises:
        VolumeError: what is stored is not a list of three integers each.
    """
    ours = attributes.get("petavox", {}).get("offsets")
    if ours is not None:
        return _triples(ours, where)
    for key in ("offsets", "neighborhood", "neighbourhood", "offset"):
        theirs = attributes.get(key)
        if isinstance(theirs, list) and theirs and isinstance(theirs[0], list):
            return tuple(triple([-v for v in o]) for o in _triples(theirs, where))
    return None


def _triples(values: Any, where: str) -> tuple[Triple, ...]:
    if not all(isinstance(o, list) and len(o) == 3 and all(isinstance(v, int) for v in o) for o in values):
        raise VolumeError(f"Offsets of affinities must be three integers each (z, y, x), found {values} in {where}.")
    return tuple(triple(o) for o in values)
