"""Makes the answers that the network should give: the affinities of labels, with a mask where nothing is known."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..geometry import Triple
from ..labels import object_ids, unknown_labels

UNKNOWN = -1
"""Label of a voxel whose object is not known."""
MASKED = 2
"""Target value of an edge that has no known answer."""


LARGEST = 2**24 - 2
"""Labels up to this are exact in float32, in which a warp looks them up."""


def known_labels(labels: NDArray[np.integer], mask: NDArray[np.bool_]) -> Tensor:
    """Returns labels as int32, `UNKNOWN` outside the mask and where labels mark it; renumbered if too large."""
    unknown, ids = unknown_labels(labels), object_ids(labels, "labels")
    if ids.size and ids.max() > LARGEST:
        ids = np.unique(np.append(ids, ids.dtype.type(0)), return_inverse=True)[1][:-1].reshape(labels.shape)
    known = ids.astype(np.int32)
    known[~mask if unknown is None else ~mask | unknown] = UNKNOWN
    return torch.from_numpy(known)


def affinity_targets(labels: Tensor, offsets: Sequence[Triple]) -> Tensor:
    """Returns affinities of labels by offset: 1 inside one object, 0 across a border or in background, else `MASKED`.

    Channel c at p is the edge between p and p − offset[c]; it is masked where either end is `UNKNOWN` or lies outside
    the array. Label 0 is background, which has affinity 0 to everything.

    Args:
        labels: objects (Z, Y, X), integers, on any device.
        offsets: in voxels z, y, x, of either sign.

    Returns:
        uint8 (C, Z, Y, X), on the same device.
    """
    targets = torch.full((len(offsets), *labels.shape), MASKED, dtype=torch.uint8, device=labels.device)
    # On bytes and in bits, which a CPU is fastest at.
    masked, objects = (labels == UNKNOWN).byte() * MASKED, (labels > 0).byte()
    for target, offset in zip(targets, offsets, strict=True):
        here = tuple(slice(max(o, 0), max(0, n + min(o, 0))) for o, n in zip(offset, labels.shape, strict=True))
        there = tuple(slice(max(-o, 0), max(0, n - max(o, 0))) for o, n in zip(offset, labels.shape, strict=True))
        joined = (labels[here] == labels[there]).byte().bitwise_and_(objects[here])
        torch.bitwise_or(joined, masked[here] | masked[there], out=target[here])
    return targets


def erode_labels(labels: Tensor, steps: int, depth: int = 0) -> Tensor:
    """Returns labels (Z, Y, X) with `steps` voxels of every border in the plane turned into background on either side.

    So are `depth` voxels of borders along z. Where the neighbour is `UNKNOWN` there is no border, and what is unknown
    stays so.
    """
    known = labels != UNKNOWN
    for step in range(max(steps, depth)):
        border = torch.zeros_like(known)
        for axis in (axis for axis, reach in enumerate((depth, steps, steps)) if step < reach):
            length = labels.shape[axis] - 1
            below, above = (slice(None),) * axis + (slice(length),), (slice(None),) * axis + (slice(1, None),)
            differs = (labels[below] != labels[above]) & known[below] & known[above]
            border[below] |= differs
            border[above] |= differs
        labels = labels.masked_fill(border, 0)
    return labels
