"""Masks over affinities: where a mask is 0 there are no voxels, so no edge to one has an affinity."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from ..geometry import Box, triple

Mask = npt.NDArray[np.bool_]


def edges_inside(inside: Callable[[Box], Mask], box: Box) -> Mask:
    """Tells for each affinity (3, Z, Y, X) of z, y and x over a box whether both ends of its edge are inside a mask.

    Args:
        inside: tells for a box inside the volume which of its voxels are inside the mask.
        box: in voxels of the volume.
    """
    return both_ends(inside(lower_ends(box)), box)


def lower_ends(box: Box) -> Box:
    """Returns the voxels of a box and those just before it, as far as the volume goes."""
    return Box(triple([max(0, a - 1) for a in box.start]), box.stop)


def both_ends(good: Mask, box: Box) -> Mask:
    """Tells for each affinity (3, Z, Y, X) over a box whether both ends of its edge are good.

    Args:
        good: which voxels are, over `lower_ends(box)`.
        box: in voxels of the volume.
    """
    missing = [(1 - (a - b), 0) for a, b in zip(box.start, lower_ends(box).start, strict=True)]
    found = np.pad(good, missing, mode="edge")
    here = found[1:, 1:, 1:]
    return np.stack([here & found[:-1, 1:, 1:], here & found[1:, :-1, 1:], here & found[1:, 1:, :-1]])
