"""Masks over affinities: where a mask is 0 there are no voxels, so no edge to one has an affinity."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from ..geometry import Box, triple

Mask = npt.NDArray[np.bool_]


def edges_inside(inside: Callable[[Box], Mask], box: Box) -> Mask:
    """For each affinity (3, Z, Y, X) of z, y and x over a box whether both ends of its edge are inside a mask.

    Args:
        inside: for a box inside the volume, which of its voxels are inside the mask.
        box: in voxels of the volume.
    """
    around = Box(triple([max(0, a - 1) for a in box.start]), box.stop)
    missing = [(1 - (a - b), 0) for a, b in zip(box.start, around.start, strict=True)]
    found = np.pad(inside(around), missing, mode="edge")
    here = found[1:, 1:, 1:]
    return np.stack([here & found[:-1, 1:, 1:], here & found[1:, :-1, 1:], here & found[1:, 1:, :-1]])
