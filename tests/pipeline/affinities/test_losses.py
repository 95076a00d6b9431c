import numpy as np
import pytest
import torch

from petavox.pipeline.affinities.losses import balanced_loss, descriptor_loss, maximin_loss
from petavox.pipeline.affinities.maximin import pairs_decided
from petavox.pipeline.affinities.offsets import NEAREST
from petavox.pipeline.affinities.shape_descriptors import DESCRIPTORS
from petavox.pipeline.affinities.targets import MASKED, affinity_targets


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


def patches():
    """Logits, targets and labels of two patches of small objects, with voxels of none between some of them."""
    random = np.random.default_rng(0)
    labels = torch.from_numpy(
        random.integers(0, 4, (2, 2, 3, 3)).repeat(2, 1).repeat(2, 2).repeat(2, 3).astype(np.int32)
    )
    targets = torch.stack([affinity_targets(objects, NEAREST) for objects in labels])
    return torch.from_numpy(random.normal(size=targets.shape).astype(np.float32)), targets, labels


def test_an_edge_counts_by_the_share_of_the_pairs_that_it_decides():
    logits, targets, labels = patches()
    expected = 0.0
    for strength, known, objects in zip(logits, targets, labels, strict=True):
        within, between = pairs_decided(strength.sigmoid().numpy(), known.numpy(), objects.numpy())
        for logit, one, two in zip(strength.ravel().numpy(), within.ravel(), between.ravel(), strict=True):
            expected += one * np.logaddexp(0, -logit) / 4 + two * np.logaddexp(0, logit) / 4
    assert float(maximin_loss(logits, targets, labels)) == pytest.approx(expected, rel=1e-5)


def test_patches_of_several_processes_add_up_to_the_loss_of_all():
    logits, targets, labels = patches()
    parts = [
        maximin_loss(logits[n : n + 1], targets[n : n + 1], labels[n : n + 1], lambda found: 2 * found)
        for n in range(2)
    ]
    assert float(sum(parts)) == pytest.approx(float(maximin_loss(logits, targets, labels)), rel=1e-6)


def test_following_its_gradient_closes_holes_and_joins_halves():
    logits, targets, labels = patches()
    logits.requires_grad_(True)
    for _ in range(300):
        (gradient,) = torch.autograd.grad(maximin_loss(logits, targets, labels), logits)
        logits = (logits - 20 * gradient).detach().requires_grad_(True)
    for strength, known, objects in zip(logits.detach(), targets, labels, strict=True):
        within, between = pairs_decided(strength.sigmoid().numpy(), known.numpy(), objects.numpy())
        assert within.sum() == pytest.approx(1)
        assert between.sum() == pytest.approx(1)
        assert (strength.numpy()[within > 0] > 0).all()
        assert (strength.numpy()[between > 0] < 0).all()
