"""What the network should answer: the affinities of a labelled volume, with a mask where nothing is known."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ..geometry import Triple

MASKED = 2
"""Target value of an edge that has no known answer."""


def affinity_targets(
    labels: NDArray[np.integer], mask: NDArray[np.bool_], offsets: Sequence[Triple]
) -> NDArray[np.uint8]:
    """Affinities of labels, for every offset: 1 inside one object, 0 across a border or in background, else `MASKED`.

    Channel c at p is the edge between p and p − offset[c]; it is masked where either end lies outside the mask or
    outside the array. Label 0 inside the mask is background, which has affinity 0 to everything.

    Args:
        labels: objects (Z, Y, X).
        mask: where the labels are known (Z, Y, X).
        offsets: in voxels z, y, x, of either sign.

    Returns:
        uint8 (C, Z, Y, X).
    """
    targets = np.full((len(offsets), *labels.shape), MASKED, dtype=np.uint8)
    for target, offset in zip(targets, offsets, strict=True):
        here = tuple(slice(max(o, 0), max(0, n + min(o, 0))) for o, n in zip(offset, labels.shape, strict=True))
        there = tuple(slice(max(-o, 0), max(0, n - max(o, 0))) for o, n in zip(offset, labels.shape, strict=True))
        joined = (labels[here] == labels[there]) & (labels[here] != 0)
        known = mask[here] & mask[there]
        target[here] = np.where(known, joined, np.uint8(MASKED))
    return targets


def erode_labels(labels: NDArray[np.integer], steps: int) -> NDArray[np.integer]:
    """Labels (Z, Y, X) with `steps` voxels of every border in the plane turned into background on either side."""
    for _ in range(steps):
        border = np.zeros(labels.shape, dtype=np.bool_)
        for axis in (1, 2):
            below = tuple(slice(None, -1) if a == axis else slice(None) for a in range(3))
            above = tuple(slice(1, None) if a == axis else slice(None) for a in range(3))
            differs = labels[below] != labels[above]
            border[below] |= differs
            border[above] |= differs
        labels = np.where(border, labels.dtype.type(0), labels)
    return labels
