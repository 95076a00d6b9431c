import numpy as np
import pytest
import torch

from petavox.pipeline.affinities.descriptors import DESCRIPTORS
from petavox.pipeline.affinities.losses import balanced_loss, descriptor_loss
from petavox.pipeline.affinities.targets import MASKED


def balanced_loss_voxel_by_voxel(logits, targets, limit):
    total = weights = 0.0
    for c in range(logits.shape[1]):
        known = [
            (float(a), int(t)) for a, t in zip(logits[:, c].ravel(), targets[:, c].ravel(), strict=True) if t != MASKED
        ]
        for logit, target in known:
            weight = min(limit, 0.5 * len(known) / sum(t == target for _, t in known))
            total += weight * np.logaddexp(0, -logit if target else logit)
            weights += weight
    return total / weights


@pytest.mark.parametrize("limit", [1.5, 10.0])
def test_loss_equals_its_definition(limit):
    random = np.random.default_rng(0)
    logits = random.normal(size=(2, 3, 2, 4, 5)).astype(np.float32)
    targets = random.choice([0, 1, MASKED], p=[0.1, 0.6, 0.3], size=logits.shape).astype(np.uint8)
    found = balanced_loss(torch.from_numpy(logits), torch.from_numpy(targets), limit)
    assert float(found) == pytest.approx(balanced_loss_voxel_by_voxel(logits, targets, limit), rel=1e-5)


def test_loss_is_zero_where_nothing_is_known():
    logits = torch.randn(1, 3, 2, 4, 4, requires_grad=True)
    loss = balanced_loss(logits, torch.full(logits.shape, MASKED, dtype=torch.uint8), 10.0)
    loss.backward()
    assert loss.item() == 0
    assert not logits.grad.any()


def test_known_descriptors_alone_count():
    logits, descriptors = torch.zeros(1, DESCRIPTORS, 1, 2, 2), torch.full((1, DESCRIPTORS, 1, 2, 2), torch.nan)
    logits.requires_grad_(True)
    assert descriptor_loss(logits, descriptors).item() == 0
    descriptors[..., 0] = 1.0
    loss = descriptor_loss(logits, descriptors)
    loss.backward()
    assert loss.item() == 0.25
    assert logits.grad[..., 0].all()
    assert not logits.grad[..., 1].any()
