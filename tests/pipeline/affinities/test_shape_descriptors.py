import itertools
import math

import numpy as np
import pytest
import torch

from petavox.pipeline.affinities.shape_descriptors import DESCRIPTORS, shape_descriptors


def descriptors_voxel_by_voxel(labels, deviation):
    """The definition: all voxels of the same object, weighted by a Gaussian around each."""
    found = np.full((DESCRIPTORS, *labels.shape), np.nan)
    reach = [math.ceil(3 * d) for d in deviation]
    whole = np.prod(
        [np.exp(-0.5 * (np.arange(-r, r + 1) / d) ** 2).sum() for r, d in zip(reach, deviation, strict=True)]
    )
    for p in itertools.product(*map(range, labels.shape)):
        if labels[p] <= 0:
            continue
        same = np.argwhere(labels == labels[p]) - p
        u = same[(np.abs(same) <= reach).all(1)] / deviation
        w = np.exp(-0.5 * (u**2).sum(1))
        mean = w @ u / w.sum()
        covariance = (u - mean).T @ ((u - mean) * w[:, None]) / w.sum()
        d = np.sqrt(np.maximum(np.diag(covariance), 1e-3))
        correlation = [covariance[i, j] / (d[i] * d[j]) for i, j in ((0, 1), (0, 2), (1, 2))]
        values = [*(0.5 + mean / 2), *np.diag(covariance), *(0.5 + np.array(correlation) / 2), w.sum() / whole]
        found[(slice(None), *p)] = np.clip(values, 0, 1)
    return found


def blobs(shape, seed):
    """A few objects in several pieces, background, and voxels that are not known."""
    coarse = np.random.default_rng(seed).integers(-1, 4, [-(-n // 2) for n in shape])
    return np.kron(coarse, np.ones((2, 2, 2), int))[tuple(slice(n) for n in shape)]


@pytest.mark.parametrize("deviation", [(1.0, 1.5, 1.5), (0.7, 2.0, 1.2)])
def test_descriptors_equal_their_definition(deviation):
    labels = blobs((4, 7, 6), seed=2)
    found = shape_descriptors(torch.from_numpy(labels), deviation)
    np.testing.assert_allclose(found, descriptors_voxel_by_voxel(labels, deviation), atol=2e-4)


def test_wide_descriptors_are_computed_on_every_few_voxels_and_hold_for_their_neighbours_in_the_object():
    labels = torch.from_numpy(blobs((2, 13, 14), seed=3))
    wide = shape_descriptors(labels, (1.0, 6.0, 9.0))
    coarse = shape_descriptors(labels[:, ::2, ::3], (1.0, 3.0, 3.0))
    torch.testing.assert_close(wide[:, :, ::2, ::3], coarse, equal_nan=True)
    known = wide.isfinite().all(0)
    there = torch.from_numpy(labels.numpy()[:, np.arange(13) // 2 * 2][:, :, np.arange(14) // 3 * 3])
    assert torch.equal(known, (labels > 0) & (labels == there))


def test_the_middle_of_a_large_object_has_no_offset_and_the_gaussian_s_own_size():
    found = shape_descriptors(torch.ones(21, 21, 21, dtype=torch.int32), (2.0, 2.0, 2.0))[:, 10, 10, 10]
    np.testing.assert_allclose(found, [0.5] * 3 + [found[3]] * 3 + [0.5] * 3 + [1.0], atol=1e-4)
    assert 0.9 < found[3] < 1
