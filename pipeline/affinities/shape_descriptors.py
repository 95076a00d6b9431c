"""Local shape descriptors: what an object looks like around each of its voxels, as something else to learn.

Sheridan, Nguyen, Deb, Lee, Saalfeld, Turaga, Manor, Funke 2022, "Local shape descriptors for neuron segmentation",
Nature Methods 20.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from ..geometry import Triple, triple
from .network_config import DESCRIPTORS

FINE = 3
"""Descriptors are computed on every voxel that is so many to a standard deviation, and hold for those around it."""
REACH = 3
"""The Gaussian ends after so many standard deviations."""
LEAST_VARIANCE = 1e-3

Deviation = tuple[float, float, float]
Moments = dict[Triple, Tensor]


def shape_descriptors(labels: Tensor, deviation: Deviation) -> Tensor:
    """Returns the descriptors of labels, each from 0 to 1.

    For every voxel of an object, over the part of that object that lies in the patch, weighted by a Gaussian around the
    voxel: the mean offset (0.5 is none, 1 one standard deviation of the Gaussian), the variances (1 is that of the
    Gaussian) and correlations of the offsets, and the share of the Gaussian's weight that lies in the object.

    Args:
        labels: (Z, Y, X), integers; those above 0 are objects.
        deviation: standard deviation of the Gaussian along z, y, x, in voxels; of equal length in nm in the paper.

    Returns:
        float32 (10, Z, Y, X), on the device of the labels; not a number outside objects, and where the voxel that is
        computed instead belongs to another object.
    """
    steps = triple([max(1, int(d // FINE)) for d in deviation])
    sampled = labels[:: steps[0], :: steps[1], :: steps[2]]
    kernels = [gaussian_kernels(d / s, labels.device) for d, s in zip(deviation, steps, strict=True)]
    found = torch.full((DESCRIPTORS, *sampled.shape), torch.nan, device=labels.device)
    for name in torch.unique(sampled[sampled > 0]):
        mask = sampled == name
        where = mask.nonzero()
        box = tuple(slice(int(a), int(b) + 1) for a, b in zip(where.amin(0), where.amax(0), strict=True))
        inside = mask[box]
        found[:, *box][:, inside] = descriptors_of(gaussian_moments(inside.float(), kernels))[:, inside]
    return _on_every_voxel(found, sampled, labels, steps)


def gaussian_kernels(deviation: float, device: torch.device) -> Tensor:
    """Returns a Gaussian of weight 1, and it times the offset and its square, in standard deviations (3, length)."""
    reach = math.ceil(REACH * deviation)
    offsets = torch.arange(-reach, reach + 1, device=device) / deviation
    weights = torch.exp(-0.5 * offsets**2)
    weights /= weights.sum()
    return torch.stack([weights, weights * offsets, weights * offsets**2])


def gaussian_moments(mask: Tensor, kernels: list[Tensor]) -> Moments:
    """Sums products of offsets up to degree 2, weighted, by the powers of z, y and x, each (Z, Y, X)."""
    partial: dict[tuple[int, ...], Tensor] = {(): mask[None, None]}
    for axis, kernel in enumerate(kernels):
        reach = kernel.shape[1] // 2
        shape, padding = [1, 1, 1], [0, 0, 0]
        shape[axis], padding[axis] = 2 * reach + 1, reach
        sums = {}
        for powers, array in partial.items():
            weights = kernel[: 3 - sum(powers)].reshape(-1, 1, *shape)
            for power, found in enumerate(torch.split(F.conv3d(array, weights, padding=padding), 1, dim=1)):
                sums[(*powers, power)] = found
        partial = sums
    return {triple(powers): found[0, 0] for powers, found in partial.items()}


def descriptors_of(moments: Moments) -> Tensor:
    """Returns the ten descriptors (10, Z, Y, X) of the moments of one object, meaningful inside it."""
    size = moments[0, 0, 0]
    z, y, x = (moments[powers] / size for powers in ((1, 0, 0), (0, 1, 0), (0, 0, 1)))
    variances = [moments[p] / size - m**2 for p, m in zip(((2, 0, 0), (0, 2, 0), (0, 0, 2)), (z, y, x), strict=True)]
    deviations = [v.clamp(min=LEAST_VARIANCE).sqrt() for v in variances]
    correlations = [
        (moments[powers] / size - a * b) / (deviations[i] * deviations[j])
        for powers, a, b, i, j in (((1, 1, 0), z, y, 0, 1), ((1, 0, 1), z, x, 0, 2), ((0, 1, 1), y, x, 1, 2))
    ]
    centred = [0.5 + 0.5 * value for value in (z, y, x)]
    return torch.stack([*centred, *variances, *(0.5 + 0.5 * value for value in correlations), size]).clamp(0, 1)


def _on_every_voxel(found: Tensor, sampled: Tensor, labels: Tensor, steps: Triple) -> Tensor:
    if steps == (1, 1, 1):
        return found
    for axis, (step, length) in enumerate(zip(steps, labels.shape, strict=True)):
        found = found.repeat_interleave(step, axis + 1).narrow(axis + 1, 0, length)
        sampled = sampled.repeat_interleave(step, axis).narrow(axis, 0, length)
    return found.masked_fill(sampled != labels, torch.nan)
