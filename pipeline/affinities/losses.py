"""Computes the loss of training: the error of affinities, of the edges that decide, and of shape descriptors."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from .maximin import pairs_decided

Total = Callable[[Tensor], Tensor]
"""Adds up what several processes have found; the same everywhere."""


def alone(found: Tensor) -> Tensor:
    """Returns the total of one process."""
    return found


def balanced_loss(logits: Tensor, targets: Tensor, limit: float, total: Total = alone) -> Tensor:
    """Computes sigmoid cross-entropy where targets are known, either class of a channel with the same total weight.

    An edge weighs 0.5 / frequency of its class in its channel, at most `limit`. With several processes this is what the
    patches of this one add to the loss of all.

    Args:
        logits: (N, C, Z, Y, X).
        targets: uint8 of the same shape: 0, 1 or `MASKED`.
        limit: the largest weight.
        total: over all processes.
    """
    positive, negative = targets == 1, targets == 0
    axes = (0, 2, 3, 4)
    positives, negatives = (total(known.sum(axes, keepdim=True)).clamp(min=1) for known in (positive, negative))
    known = positives + negatives
    weights = positive * (known / (2 * positives)).clamp(max=limit)
    weights += negative * (known / (2 * negatives)).clamp(max=limit)
    loss = F.binary_cross_entropy_with_logits(logits.float(), positive.float(), weight=weights, reduction="sum")
    return loss / total(weights.sum()).clamp(min=1)


def maximin_loss(logits: Tensor, targets: Tensor, labels: Sequence[Tensor], total: Total = alone) -> Tensor:
    """Computes sigmoid cross-entropy of neighbours, weighed by the share of pairs of voxels that an edge decides.

    Pairs of one object and pairs of two weigh the same. With several processes this is what the patches of this one
    add to the loss of all.

    Args:
        logits: (N, 3, Z, Y, X), of the edges along z, y, x.
        targets: uint8 of the same shape.
        labels: labels of each patch, (Z, Y, X) of the same device: the objects that the targets were made of.
        total: over all processes.
    """
    strengths = logits.detach().float().sigmoid()
    arrays = [[array.cpu().numpy() for array in patch] for patch in zip(strengths, targets, labels, strict=True)]
    with ThreadPoolExecutor(min(len(arrays), os.cpu_count() or 1)) as pool:
        shares = list(pool.map(lambda patch: pairs_decided(*patch), arrays))
    within, between = (torch.from_numpy(np.stack(kind)).to(logits.device) for kind in zip(*shares, strict=True))
    edges = within * F.softplus(-logits.float()) + between * F.softplus(logits.float())
    return 0.5 * edges.sum() / total(edges.new_tensor(float(len(logits))))


def descriptor_loss(logits: Tensor, descriptors: Tensor, total: Total = alone) -> Tensor:
    """Returns mean squared error where descriptors are known; with several processes what this one adds to it.

    Args:
        logits: (N, 10, Z, Y, X), of which the sigmoid is the answer.
        descriptors: descriptors of the same shape, not a number where they are unknown.
        total: over all processes.
    """
    known = descriptors.isfinite()
    errors = (logits.float().sigmoid() - torch.nan_to_num(descriptors)) * known
    return errors.square().sum() / total(known.sum()).clamp(min=1)
