import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter

from petavox.pipeline.affinities.augment_grey import (
    GREY_RANGE,
    change_appearance,
    change_grey,
    defocus_sections,
    remove_sections,
    shade,
)
from petavox.pipeline.affinities.augmentation_config import AugmentationConfig

NOTHING = AugmentationConfig(missing=0, defocus=0, grey=0, noise=0)
EVERYTHING = AugmentationConfig(
    missing=1, defocus=1, defocus_sections=5, grey=1, missing_sections=10, shading=1, shading_spacing=4
)


def texture(shape=(6, 16, 12), seed=0):
    return torch.from_numpy(np.random.default_rng(seed).standard_normal(shape).astype(np.float32))


def changed_sections(change, config, seed):
    """Which sections a change changes."""
    image = texture()
    change(image, config, np.random.default_rng(seed))
    return (image != texture()).flatten(1).any(1)


def test_nothing_happens_when_nothing_is_asked_for():
    assert torch.equal(change_appearance(texture(), NOTHING, np.random.default_rng(0)), texture())


@pytest.mark.parametrize(
    "alone", [{"missing": 1.0}, {"defocus": 1.0}, {"grey": 1.0}, {"shading": 1.0}, {"noise": 0.2}], ids=str
)
def test_every_change_can_be_had_alone(alone):
    config = NOTHING.model_copy(update=alone)
    assert not torch.equal(change_appearance(texture(), config, np.random.default_rng(1)), texture())


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_images_stay_finite_and_of_their_shape_and_type_and_a_seed_says_which(seed):
    changed = change_appearance(texture(), EVERYTHING, np.random.default_rng(seed))
    assert changed.dtype == torch.float32
    assert changed.shape == (6, 16, 12)
    assert changed.isfinite().all()
    assert torch.equal(changed, change_appearance(texture(), EVERYTHING, np.random.default_rng(seed)))


@pytest.mark.parametrize(("change", "key"), [(remove_sections, "missing"), (defocus_sections, "defocus")])
def test_at_most_as_many_sections_change_as_asked_for(change, key):
    config = NOTHING.model_copy(update={f"{key}_sections": 3})
    assert {int(changed_sections(change, config, seed).sum()) for seed in range(60)} == {1, 2, 3}
    # More than there are is as many as there are.
    many = NOTHING.model_copy(update={f"{key}_sections": 50})
    assert max(int(changed_sections(change, many, seed).sum()) for seed in range(20)) == 6


def test_missing_sections_lack_one_quadrant_or_all_and_hold_one_grey_value_there():
    config = NOTHING.model_copy(update={"missing_sections": 1})
    shares = set()
    for seed in range(40):
        image = texture()
        remove_sections(image, config, np.random.default_rng(seed))
        gone = image != texture()
        assert len(image[gone].unique()) == 1
        shares.add(round(float(gone.float().mean()) * 6, 2))
    assert shares == {0.25, 1.0}


def test_a_section_out_of_focus_is_that_section_blurred_by_a_gaussian():
    config = NOTHING.model_copy(update={"defocus_deviation": 2.0})
    for seed in range(10):
        image = texture()
        defocus_sections(image, config, np.random.default_rng(seed))
        random = np.random.default_rng(seed)
        random.integers(1, 2)
        z, deviation = random.choice(6, 1, replace=False)[0], random.uniform(0, 2.0)
        # The tails that are cut off beyond three standard deviations are all that differs.
        blurred = gaussian_filter(texture()[z].numpy(), max(deviation, 1e-3), mode="nearest")
        np.testing.assert_allclose(image[z], blurred, atol=0.05)


@pytest.mark.parametrize(("sections", "expected"), [(0.5, {True, False}), (0.0, {True}), (1.0, {False})])
def test_grey_values_change_with_each_section_or_with_all_alike_and_keep_their_order(sections, expected):
    config = NOTHING.model_copy(update={"grey_sections": sections})
    ramp = torch.linspace(-GREY_RANGE, GREY_RANGE, 50).expand(4, 1, 50)
    alike = set()
    for seed in range(40):
        image = ramp.clone()
        change_grey(image, config, np.random.default_rng(seed))
        assert (image.diff(dim=2) >= 0).all()
        assert image.abs().max() <= GREY_RANGE + 1e-5
        alike.add(bool((image == image[:1]).all()))
    assert alike == expected


def test_shading_changes_contrast_and_brightness_smoothly_and_by_no_more_than_asked_for():
    config = NOTHING.model_copy(update={"contrast": 0.4, "brightness": 0.6, "shading_spacing": 5})
    for seed in range(10):
        brightness, sum_of_both = torch.zeros(6, 16, 12), torch.ones(6, 16, 12)
        shade(brightness, config, np.random.default_rng(seed))
        shade(sum_of_both, config, np.random.default_rng(seed))
        contrast = sum_of_both - brightness
        # From one point of the grid to the next, more than two voxels away, a value passes through all of its range.
        for field, largest in ((brightness, 0.6), (contrast - 1, 0.4)):
            assert field.abs().max() <= largest + 1e-6
            assert field.std() > largest / 20
            assert all(field.diff(dim=axis).abs().max() < largest for axis in range(3))
        # Linear in between, so that it is no more than contrast and brightness.
        image = texture()
        shade(image, config, np.random.default_rng(seed))
        torch.testing.assert_close(image, texture() * contrast + brightness)
