import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from petavox.pipeline.affinities.augment_shape import (
    Patch,
    Warp,
    displace_sections,
    draw_warp,
    exchange_axes,
    flip,
    section_origins,
)
from petavox.pipeline.affinities.augmentation_config import AugmentationConfig
from petavox.pipeline.affinities.targets import UNKNOWN
from petavox.pipeline.geometry import Box

SLIP_AND_STEP = AugmentationConfig(slip=1, step=1, displacement=5)
WARP = AugmentationConfig(warp=1, rotation=180, shear=0.5, stretch=0.5)
BOTH = AugmentationConfig(warp=1, elastic=1, bend=3, bend_spacing=8)
ELASTIC = AugmentationConfig(elastic=1, bend=2, bend_spacing=8)


def voxels(shape):
    """A volume in which every voxel is different, and the label follows from the image."""
    image = torch.from_numpy(np.random.default_rng(0).permutation(int(np.prod(shape))).reshape(shape))
    return Patch(image, image.int() // 3)


def cells(shape, size=8):
    """Blocks of one label each, and an image that is a function of the labels."""
    z, y, x = np.ogrid[tuple(slice(n) for n in shape)]
    labels = torch.from_numpy(1 + z + 7 * (y // size) + 31 * (x // size)).int()
    return Patch(brightness(labels), labels)


def brightness(labels):
    return (labels * 37 % 101).float()


@settings(max_examples=30)
@given(seed=st.integers(0, 2**32), shape=st.sampled_from([(4, 6, 8), (5, 7, 7), (1, 4, 4)]))
def test_displaced_and_flipped_labels_stay_those_of_the_image_voxel_by_voxel(seed, shape):
    random = np.random.default_rng(seed)
    volume = voxels((9, 20, 22))
    box = Box.of_shape((shape[0], shape[1] + 5, shape[2] + 5), (2, 3, 4))
    patch = flip(displace_sections(volume, box, shape, SLIP_AND_STEP, random), random)
    assert patch.image.shape == patch.labels.shape == shape
    assert torch.equal(patch.labels, patch.image.int() // 3)
    assert set(patch.image.ravel().tolist()) <= set(volume.image[box.slices()].ravel().tolist())


def test_all_sixteen_orientations_of_a_square_patch_are_seen():
    whole, random = voxels((2, 3, 3)), np.random.default_rng(0)
    assert len({flip(whole, random).image.numpy().tobytes() for _ in range(300)}) == 16


def test_all_forty_eight_orientations_of_a_cube_are_seen_and_labels_go_along():
    whole, random = voxels((3, 3, 3)), np.random.default_rng(0)
    seen = [exchange_axes(flip(whole, random), random) for _ in range(1000)]
    assert len({patch.image.numpy().tobytes() for patch in seen}) == 48
    assert all(torch.equal(patch.labels, patch.image.int() // 3) for patch in seen)


def test_a_slip_displaces_one_section_and_a_step_all_that_follow():
    random = np.random.default_rng(3)
    aligned = AugmentationConfig(slip=0, step=0)
    slips, steps, furthest = set(), set(), 0
    for _ in range(200):
        slip = section_origins((6, 25, 25), (6, 8, 8), aligned.model_copy(update={"slip": 1.0}), random)
        slips.add(min(int((slip != origin).any(1).sum()) for origin in slip))
        step = section_origins((6, 25, 25), (6, 8, 8), aligned.model_copy(update={"step": 1.0}), random)
        steps.add(int((np.diff(step, axis=0) != 0).any(1).sum()))
        furthest = max(furthest, int(np.ptp(slip, axis=0).max()))
    # Now and then the other place is the same one, or the step is at the first section.
    assert 1 in slips <= {0, 1}
    assert 1 in steps <= {0, 1}
    assert 14 <= furthest <= 17
    assert (np.ptp(section_origins((6, 25, 25), (6, 8, 8), aligned, random), axis=0) == 0).all()


@settings(max_examples=30, deadline=None)
@example(seed=1223, config=ELASTIC)  # whose bend is larger between its points than at them
@given(seed=st.integers(0, 2**32), config=st.sampled_from([WARP, ELASTIC, BOTH]))
def test_warped_labels_stay_those_of_the_image_wherever_no_border_is_near(seed, config):
    shape = (2, 20, 24)
    warp = draw_warp(shape, config, np.random.default_rng(seed))
    patch = warp.apply(cells(warp.extent(shape)), shape)
    assert patch.image.shape == patch.labels.shape == shape
    known = patch.labels != UNKNOWN
    pure = (patch.image - patch.image.round()).abs() < 1e-3
    right = (patch.image - brightness(patch.labels)).abs() < 1e-3
    # What lies between two cells is grey; elsewhere the image says the label.
    assert known.all()
    assert right.float().mean() > 0.4
    assert (right | ~pure).float().mean() > 0.97


def test_a_sample_is_as_large_as_the_points_of_a_bend_ask_unless_that_misses_a_label():
    """Patch number n of a seed is what it was before bends were seen to be larger between their points."""
    grown = 0
    for seed in range(400):
        warp = draw_warp((2, 20, 24), ELASTIC, np.random.default_rng(seed))
        plain = [int(n) + 2 for n in 2 * np.abs(warp.bend).max((1, 2)) + np.abs(warp.matrix) @ (19, 23)]
        extent = warp.extent((2, 20, 24))
        if extent != (2, *plain):
            smaller = warp.apply(cells((2, *plain)), (2, 20, 24))
            assert (smaller.labels == UNKNOWN).any()
            grown += 1
    assert grown == 2


def test_a_turn_by_a_right_angle_loses_nothing():
    sample = cells((3, 9, 9), size=2)
    quarter = Warp(np.array([[0.0, -1.0], [1.0, 0.0]]), np.zeros((2, 2, 2), np.float32))
    turned = quarter.apply(sample, (3, 9, 9))
    assert torch.equal(turned.labels, torch.rot90(sample.labels, -1, (1, 2)))
    torch.testing.assert_close(turned.image, torch.rot90(sample.image, -1, (1, 2)), rtol=0, atol=1e-3)


@pytest.mark.parametrize("angle", [10, 45, 80])
def test_a_rotation_turns_by_its_angle(angle):
    t = np.radians(angle)
    rotation = Warp(np.array([[np.cos(t), -np.sin(t)], [np.sin(t), np.cos(t)]]), np.zeros((2, 2, 2), np.float32))
    height, width = rotation.extent((1, 21, 21))[1:]
    rows = torch.arange(height)[:, None] - (height - 1) / 2 + torch.zeros(1, height, width)
    seen = rotation.apply(Patch(rows, torch.zeros(1, height, width).int()), (1, 21, 21)).image[0]
    y, x = np.mgrid[-10:11, -10:11]
    np.testing.assert_allclose(seen, np.cos(t) * y - np.sin(t) * x, atol=1e-3)


def test_what_lies_outside_is_mirrored_and_unknown():
    larger = Warp(2 * np.eye(2), np.zeros((2, 2, 2), np.float32))
    patch = larger.apply(cells((2, 16, 16)), (2, 16, 16))
    assert (patch.labels[:, 4:12, 4:12] != UNKNOWN).all()
    assert (patch.labels[:, :3] == UNKNOWN).all()
    assert (patch.labels[:, :, -3:] == UNKNOWN).all()
    assert (patch.image > 0).any((1, 2)).all()


def test_nothing_is_warped_unless_it_is_asked_for():
    assert draw_warp((2, 8, 8), AugmentationConfig(), np.random.default_rng(0)) is None
    elastic = draw_warp((2, 8, 8), ELASTIC, np.random.default_rng(0))
    np.testing.assert_array_equal(elastic.matrix, np.eye(2))
    assert not draw_warp((2, 8, 8), WARP, np.random.default_rng(0)).bend.any()
