"""Volumes as far as their frames go, and the error where two of them differ."""

from __future__ import annotations

from typing import NamedTuple, Protocol

from ..errors import VolumeError
from .spec import VolumeSpec

TOLERANCE = 1e-3
"""Of a voxel: sizes and positions of voxels that differ by less are the same, for numbers are rounded when stored."""


class Framed(Protocol):
    """Stands for a volume as far as its frame goes: an open one, or one that is still to be made."""

    @property
    def path(self) -> str: ...

    @property
    def spec(self) -> VolumeSpec: ...


class Planned(NamedTuple):
    """Describes a volume that need not exist yet."""

    path: str
    spec: VolumeSpec


def unlike(what: str, one: Framed, mine: object, other: Framed, theirs: object) -> VolumeError:
    """Words the error of two volumes that differ in something, for the caller to raise."""
    return VolumeError(
        f"Volumes that go together must have the same {what} (z, y, x): {one.path} has {mine}, {other.path} has"
        f" {theirs}. Correct the metadata of the wrong one, lay the right one over it in the recipe (voxel_size,"
        " offset_nm), or convert it anew, cropped or resampled as needed."
    )
