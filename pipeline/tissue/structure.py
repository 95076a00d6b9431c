"""Structure of grey values, cell by cell: what of their variance neighbouring voxels share.

In tissue, voxels that touch are alike: membranes and organelles are larger than a voxel. In empty resin only noise
varies, which differs from voxel to voxel. So the structure of a section of a cell is the variance of its grey values
less half the mean squared difference of neighbours along y and x, which for mere noise is the same; that of a cell is
the mean over its sections, and its root is in grey levels.

Voxels that hold no image do not count: those of the fill value and those at either end of the type's range, black or
white, as borders and saturated ones are. A cell depends on its own voxels alone.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from numba import njit

from ..geometry import Triple, triple

LEAST_IMAGE = 8
"""A cell is outside where less than one of so many of its voxels hold image."""
NO_IMAGE = -1.0


def cells_of(shape: Triple, cell: Triple) -> Triple:
    """Counts the cells along each axis; the last one has up to half a cell more or less than the others."""
    return triple([max(1, (2 * length + side) // (2 * side)) for length, side in zip(shape, cell, strict=True)])


def structure_of_cells(
    grey: npt.NDArray[np.generic], cell: Triple, fill_value: float | None = None
) -> npt.NDArray[np.float32]:
    """Returns the structure of each cell of an array in grey levels, `NO_IMAGE` where a cell holds none.

    Args:
        grey: (Z, Y, X), all voxels of some cells.
        cell: voxels along each axis.
        fill_value: grey value of voxels that were never written; None where there is no such.
    """
    found = np.empty(cells_of(triple(grey.shape), cell), dtype=np.float32)
    least, most = -np.inf, np.inf  # NaN is neither above nor below
    if grey.dtype.kind in "iu":
        limits = np.iinfo(grey.dtype.name)
        least, most = float(limits.min), float(limits.max)
    fill = np.nan if fill_value is None else float(fill_value)
    _measure(grey, np.array(cell, dtype=np.int64), least, most, fill, found)
    return found


@njit(nogil=True, cache=True)
def _measure(grey, cell, least, most, fill, found):  # type: ignore[no-untyped-def]
    for k in range(found.shape[0]):
        for j in range(found.shape[1]):
            for i in range(found.shape[2]):
                z = slice(k * cell[0], (k + 1) * cell[0] if k + 1 < found.shape[0] else grey.shape[0])
                y = slice(j * cell[1], (j + 1) * cell[1] if j + 1 < found.shape[1] else grey.shape[1])
                x = slice(i * cell[2], (i + 1) * cell[2] if i + 1 < found.shape[2] else grey.shape[2])
                found[k, j, i] = _structure(grey[z, y, x], least, most, fill)


@njit(nogil=True, cache=True)
def _structure(voxels, least, most, fill):  # type: ignore[no-untyped-def]
    total, counted = 0.0, 0
    for z in range(voxels.shape[0]):
        # Of the image in a section: voxels, sum, squares; pairs of neighbours, squares of their differences. Grey
        # values count from the first one, so that squares of large ones do not cancel each other out.
        count, first, added, squares, pairs, differences = 0, 0.0, 0.0, 0.0, 0, 0.0
        for y in range(voxels.shape[1]):
            for x in range(voxels.shape[2]):
                value = np.float64(voxels[z, y, x])  # float() leaves float32 as it is in compiled code
                if not (least < value < most) or value == fill:
                    continue
                if not count:
                    first = value
                count += 1
                added += value - first
                squares += (value - first) ** 2
                for dy, dx in ((1, 0), (0, 1)):
                    if y >= dy and x >= dx:
                        other = np.float64(voxels[z, y - dy, x - dx])
                        if least < other < most and other != fill:
                            pairs += 1
                            differences += (value - other) ** 2
        if pairs:
            mean = added / count
            total += count * (squares / count - mean * mean - differences / (2 * pairs))
            counted += count
    if counted * LEAST_IMAGE < voxels.size or not counted:
        return NO_IMAGE
    return np.sqrt(max(0.0, total / counted))
