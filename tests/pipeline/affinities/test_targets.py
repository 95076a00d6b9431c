import itertools

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from petavox.pipeline.affinities.offsets import LONG_RANGE
from petavox.pipeline.affinities.targets import LARGEST, MASKED, UNKNOWN, affinity_targets, erode_labels, known_labels


def affinity_targets_voxel_by_voxel(labels, mask, offsets):
    targets = np.full((len(offsets), *labels.shape), MASKED, np.uint8)
    for c, p in itertools.product(range(len(offsets)), np.ndindex(labels.shape)):
        q = tuple(a - o for a, o in zip(p, offsets[c], strict=True))
        inside = all(0 <= a < n for a, n in zip(q, labels.shape, strict=True))
        if inside and mask[p] and mask[q]:
            targets[(c, *p)] = labels[p] == labels[q] != 0
    return targets


offset = st.tuples(*(st.integers(-5, 5),) * 3)


@given(
    labels=hnp.arrays(np.uint16, (3, 4, 5), elements=st.integers(0, 2)),
    mask=hnp.arrays(np.bool_, (3, 4, 5)),
    offsets=st.lists(offset, min_size=1, max_size=4),
)
def test_targets_equal_those_made_voxel_by_voxel(labels, mask, offsets):
    found = affinity_targets(known_labels(labels, mask), offsets)
    assert found.dtype == torch.uint8
    np.testing.assert_array_equal(found, affinity_targets_voxel_by_voxel(labels, mask, offsets))


def test_background_has_affinity_0_and_the_border_is_masked():
    x = affinity_targets(torch.tensor([[[1, 1, 0, 0, 2]]]), LONG_RANGE)[2]
    assert x.tolist() == [[[MASKED, 1, 0, 0, 0]]]


def test_erosion_takes_a_voxel_from_either_side_of_a_border_in_the_plane_only():
    labels = torch.from_numpy(np.stack([np.repeat([[1, 2]], [3, 5], axis=1).repeat(2, axis=0), np.full((2, 8), 1)]))
    eroded = erode_labels(labels, 1)
    assert eroded[0].tolist() == [[1, 1, 0, 0, 2, 2, 2, 2]] * 2
    assert eroded[1].tolist() == labels[1].tolist()
    assert erode_labels(labels, 2)[0, 0].tolist() == [1, 0, 0, 0, 0, 2, 2, 2]
    assert erode_labels(labels, 0) is labels


def test_erosion_along_z_is_that_in_the_plane_with_the_axes_exchanged():
    labels = torch.from_numpy(np.random.default_rng(0).integers(-1, 3, (6, 1, 9)).repeat(9, axis=1))
    for depth in range(3):
        lying = erode_labels(labels.permute(1, 0, 2), depth).permute(1, 0, 2)
        assert torch.equal(erode_labels(labels, depth, depth), lying)
    assert torch.equal(erode_labels(labels, 2, 0), erode_labels(labels, 2))


def test_erosion_leaves_the_edge_of_what_is_known_alone():
    labels = torch.tensor([[[1, 1, UNKNOWN, UNKNOWN, 1, 2, 2]]])
    assert erode_labels(labels, 1)[0, 0].tolist() == [1, 1, UNKNOWN, UNKNOWN, 0, 0, 2]


@pytest.mark.parametrize("names", [[0, 1, 2], [0, 5, 2**60], [3, 0, 2**32], [7, 2**40, LARGEST]], ids=str)
def test_labels_of_any_size_stay_apart_and_background_stays_background(names):
    labels = np.array(names)[np.random.default_rng(0).integers(0, 3, (2, 3, 4))]
    mask = np.random.default_rng(1).random(labels.shape) < 0.8
    known = known_labels(labels, mask).numpy()
    assert ((known == UNKNOWN) == ~mask).all()
    assert known.max() <= LARGEST
    assert ((known == 0) == ((labels == 0) & mask)).all()
    assert len({(a, b) for a, b in zip(labels[mask], known[mask], strict=True)}) == len(np.unique(known[mask]))


@pytest.mark.parametrize("unknown", [np.int32(-1), np.int64(-7), np.uint64(2**64 - 1), np.float32(-1)])
def test_labels_that_mark_the_unknown_are_no_object(unknown):
    labels = np.array([[[5, 5, 0, 5]]]).astype(unknown.dtype)
    labels[0, 0, :2] = unknown
    known = known_labels(labels, np.ones(labels.shape, bool))
    assert known[0, 0].tolist() == [UNKNOWN, UNKNOWN, 0, 5]
    assert affinity_targets(known, ((0, 0, 1),))[0, 0, 0].tolist() == [MASKED, MASKED, MASKED, 0]
