"""Tolerance at truth boundaries: voxels close to one, in the same section, are taken out of the score."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numba import njit

from ..errors import RequestError
from ..geometry import Triple
from .contingency import Labels


def halo(tolerance: float, voxel_size: Sequence[float]) -> Triple:
    """Returns voxels around a box that ignore_boundaries must see to treat the box as if it saw the whole volume.

    Args:
        tolerance: nm.
        voxel_size: nm, z y x.
    """
    _, y, x = (int(_most(tolerance, size)) + 1 for size in voxel_size)
    return 0, y, x


def ignore_boundaries(truth: Labels, tolerance: float, voxel_size: Sequence[float]) -> Labels:
    """Returns truth with background where a boundary of the same section is at most `tolerance` away.

    As in the CREMI challenge: a voxel is on a boundary if one of its four neighbours in the section has another label
    (background is a label too, the edge of the array is not a boundary), and distances are Euclidean.

    Args:
        truth: (Z, Y, X) unsigned integers.
        tolerance: nm; 0 takes out the boundary voxels alone.
        voxel_size: nm, z y x.

    Raises:
        RequestError: the tolerance is negative or a voxel size is not positive.
    """
    if tolerance < 0 or min(voxel_size) <= 0:
        raise RequestError(
            f"A boundary tolerance is at least 0 nm and voxel sizes are positive; found {tolerance} nm and "
            f"{tuple(voxel_size)} nm."
        )
    _, size_y, size_x = voxel_size
    rows = int(_most(tolerance, size_y))
    reach = [_most(math.sqrt(max(0.0, tolerance**2 - (row * size_y) ** 2)), size_x) for row in range(rows + 1)]
    kept = truth.copy()
    _clear(np.ascontiguousarray(truth), np.array(reach, np.int64), kept)
    return kept


def _most(length: float, step: float) -> int:
    """Counts the steps that fit into a length, forgiving rounding in the last decimals of nanometres."""
    return math.floor(length / step + 1e-6)


@njit(nogil=True, cache=True)
def _clear(truth, reach, kept):  # type: ignore[no-untyped-def]
    """Set kept to 0 where, `row` rows away, a boundary voxel lies at most reach[row] voxels along x."""
    depth, height, width = truth.shape
    far = 1 << 40  # voxels: farther than any tolerance
    along = np.empty((height, width), np.int64)
    for z in range(depth):
        section = truth[z]
        for y in range(height):
            distance = far
            for x in range(width):
                distance = 0 if _on_boundary(section, y, x) else distance + 1
                along[y, x] = distance
            for x in range(width - 2, -1, -1):
                along[y, x] = min(along[y, x], along[y, x + 1] + 1)
        for y in range(height):
            for other in range(max(0, y - len(reach) + 1), min(height, y + len(reach))):
                limit = reach[abs(other - y)]
                for x in range(width):
                    if along[other, x] <= limit:
                        kept[z, y, x] = 0


@njit(nogil=True, cache=True, inline="always")
def _on_boundary(section, y, x):  # type: ignore[no-untyped-def]
    height, width = section.shape
    label = section[y, x]
    return (
        (y > 0 and section[y - 1, x] != label)
        or (y + 1 < height and section[y + 1, x] != label)
        or (x > 0 and section[y, x - 1] != label)
        or (x + 1 < width and section[y, x + 1] != label)
    )
