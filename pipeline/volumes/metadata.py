"""Axes, voxel size and translation of an array, and the offsets of affinities, by whatever format they were written."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..errors import VolumeError
from ..geometry import Triple, triple
from ..locations import Document
from .spec import Nanometres, nanometres
from .units import nanometres_of

SPATIAL = ("z", "y", "x")
AXIS_NAMES = {"channel": "c", "channels": "c", "c^": "c", "time": "t"}
AXES_BY_RANK = {3: "zyx", 4: "czyx", 5: "tczyx"}
"""What arrays of so many axes mostly hold; an example for whoever has to name them."""


@dataclass(frozen=True)
class Frame:
    """Holds what metadata says of an array; whatever it does not say is empty.

    Args:
        axes: one-letter names in the array's own order.
        size: nm a voxel, by axis name.
        translation: nm, by axis name.
        doubt: why there is no size although something is said about it.
        remarks: what a user must be told when the size is used.
    """

    axes: tuple[str, ...] = ()
    size: Mapping[str, float] = field(default_factory=dict)
    translation: Mapping[str, float] = field(default_factory=dict)
    doubt: str = ""
    remarks: tuple[str, ...] = ()

    @property
    def voxel_size(self) -> Nanometres | None:
        """Returns nm, z y x; None where an axis is not known."""
        return _three(self.size)

    @property
    def origin(self) -> Nanometres:
        """Returns position of the first voxel in nm, z y x; 0 where nothing is said."""
        return _three(self.translation) or (0.0, 0.0, 0.0)


def _three(lengths: Mapping[str, float]) -> Nanometres | None:
    return nanometres([lengths[n] for n in SPATIAL]) if all(n in lengths for n in SPATIAL) else None


def axis_letters(names: Sequence[str]) -> tuple[str, ...]:
    """Returns axis names in one letter each, lower case."""
    return tuple(AXIS_NAMES.get(str(n).lower(), str(n).lower()) for n in names)


def numbers(values: object) -> list[float] | None:
    """Returns finite numbers out of a list of JSON, or None where it is something else."""
    if not isinstance(values, list) or not values:
        return None
    good = all(isinstance(v, int | float) and not isinstance(v, bool) and abs(v) < 1e300 for v in values)
    return [float(v) for v in values] if good and all(math.isfinite(v) for v in values) else None


def lengths_in_nm(
    axes: Sequence[str], values: Sequence[float], units: Mapping[str, object]
) -> tuple[dict[str, float], str]:
    """Returns lengths along the spatial axes in nm, and why they are none, if so.

    Args:
        axes: names of the axes.
        values: a length for each of them.
        units: of the axes, by name; of others than z, y, x they do not count.
    """
    lengths = {}
    for name, value in zip(axes, values, strict=True):
        if name not in SPATIAL:
            continue
        nm = nanometres_of(units.get(name))
        if nm is None:
            return {}, _no_length(units.get(name))
        lengths[name] = value * nm
    return lengths, ""


def _no_length(unit: object) -> str:
    if unit is None or (isinstance(unit, str) and not unit.strip()):
        return "no unit is stated"
    return f"the unit {unit!r} is no length that is known"


def impossible(size: Mapping[str, float]) -> str:
    """Says why lengths cannot be those of a voxel; empty if they can."""
    wrong = [f"{length:g} nm along {name}" for name, length in size.items() if not 0 < length < math.inf]
    return f"it would be {', '.join(wrong)}" if wrong else ""


def arrange(
    axes: tuple[str, ...],
    shape: Sequence[int],
    path: str,
    *,
    keep_channel: bool,
    chosen: Mapping[str, int] | None = None,
) -> tuple[list[int], list[int]]:
    """Finds out how to bring an array into (C,) Z, Y, X.

    Args:
        axes: names of the array's axes.
        shape: of the array.
        path: where it lies, for messages.
        keep_channel: whether a channel axis of length 1 stays.
        chosen: indices along axes other than z, y, x, which then go: {"c": 1}.

    Returns:
        (order, indices): the array's axes in their new order, and the indices at which the first of them are taken.

    Raises:
        VolumeError: the axes are not z, y, x with at most one longer channel axis beside them, or a choice does not
            exist.
    """
    if len(shape) < 3:
        named = f"the axes {', '.join(axes)}" if axes else f"{len(shape)} unnamed axes"
        raise VolumeError(
            f"A volume has the axes z, y, x or c, z, y, x; {path} has {named} (shape {tuple(shape)}). "
            "Put the sections of a volume into one folder, or store one section as an array of shape (1, y, x)."
        )
    lengths = dict(zip(axes, shape, strict=False))
    taken = {n: 0 for n in axes if n not in SPATIAL and lengths.get(n) == 1 and not (n == "c" and keep_channel)}
    for name, index in (chosen or {}).items():
        if name not in lengths or not 0 <= index < lengths[name]:
            kind = {"c": "channels", "t": "time points"}.get(name, name)
            raise VolumeError(
                f"Cannot take number {index} of the {kind} of {path}: it has {lengths.get(name, 'no')} {kind}, "
                "counted from 0."
            )
        taken[name] = index
    left = [n for n in axes if n not in SPATIAL and n not in taken]
    unique = len(axes) == len(shape) == len(set(axes))
    if not unique or not set(SPATIAL) <= set(axes) or left not in ([], ["c"]):
        raise VolumeError(_misfit(axes, shape, path, unique=unique))
    order = [axes.index(n) for n in (*taken, *left, *SPATIAL)]
    return order, list(taken.values())


def _misfit(axes: tuple[str, ...], shape: Sequence[int], path: str, *, unique: bool) -> str:
    named = f"the axes {', '.join(axes)}" if axes else f"{len(shape)} unnamed axes"
    rule = f"A volume has the axes z, y, x or c, z, y, x; {path} has {named} (shape {tuple(shape)})."
    if unique and {"t", *SPATIAL} <= set(axes) and set(axes) <= {"t", "c", *SPATIAL}:
        return f"{rule} Take one point of time: petavox convert {path} NEW.zarr --time 0"
    example = "zyxc" if len(shape) == 4 and shape[3] <= 4 else AXES_BY_RANK.get(len(shape), "zyx")
    return (
        f"{rule} If they are misnamed, name them in the array's own order: in a recipe, beside the path, "
        f"axes = '{example}'; or in a copy: petavox convert {path} NEW.zarr --axes {example}"
    )


# --- affinities -----------------------------------------------------------------------------------------------------


def affinity_offsets(attributes: Document, where: str) -> tuple[Triple, ...] | None:
    """Returns the offsets of affinity channels, in our convention: channel c at p is the edge of p and p − offset.

    Other tools (funlib, volara, affogato) write a neighbourhood that is added to p, so theirs change sign.

    Raises:
        VolumeError: what is stored is not a list of three integers each.
    """
    own = attributes.get("petavox")
    ours = own.get("offsets") if isinstance(own, dict) else None
    if ours is not None:
        return _triples(ours, where)
    for key in ("offsets", "neighborhood", "neighbourhood", "offset"):
        theirs = attributes.get(key)
        if isinstance(theirs, list) and theirs and isinstance(theirs[0], list):
            return tuple(triple([-v for v in o]) for o in _triples(theirs, where))
    return None


def _triples(values: Any, where: str) -> tuple[Triple, ...]:
    good = isinstance(values, list) and all(
        isinstance(o, list) and len(o) == 3 and all(isinstance(v, int) for v in o) for o in values
    )
    if not good:
        raise VolumeError(f"Offsets of affinities must be three integers each (z, y, x), found {values} in {where}.")
    return tuple(triple(o) for o in values)
