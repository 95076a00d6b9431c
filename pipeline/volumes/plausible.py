"""Voxel sizes that hardly any electron microscope makes: more likely a unit or an order of axes was mistaken."""

from __future__ import annotations

from .spec import Nanometres

SMALLEST, LARGEST = 0.5, 2000.0
"""nm; edge lengths of a voxel that electron microscopy of tissue has."""
FINER = 0.99
"""Of the voxel's length in the plane; shorter than that along z is a finer one."""


def size_remarks(size: Nanometres) -> tuple[str, ...]:
    """Words remarks on a voxel size in nm (z, y, x) before it is used; nothing if it is a common one."""
    z, y, x = size
    stated = f"{z:g} × {y:g} × {x:g} nm (z, y, x)"
    remarks = []
    if not (min(size) >= SMALLEST and max(size) <= LARGEST):
        kind = "smaller than microscopes resolve in tissue" if min(size) < SMALLEST else "too large to see membranes"
        remarks.append(
            f"A voxel of {stated} is {kind} (common are {SMALLEST:g} nm to {LARGEST / 1000:g} µm): "
            "check its unit, and correct it with --voxel-size Z,Y,X in nm"
        )
    if z < FINER * max(y, x):
        remarks.append(
            f"A voxel of {stated} is finer along z than in the plane, which is rare: check the order of its axes, and "
            "correct it with --voxel-size Z,Y,X in nm"
        )
    return tuple(remarks)
