import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from petavox.pipeline.affinities.augmentation import (
    AugmentationConfig,
    Patch,
    augment_geometry,
    augment_image,
    sampling_shape,
)

NOTHING = AugmentationConfig(flips=False, slip=0, step=0, missing=0, defocus=0, grey=0, noise=0)
EVERYTHING = AugmentationConfig(slip=1, step=1, missing=1, defocus=1, grey=1, displacement=5)


def sample(shape):
    """A patch in which every voxel is different, and label and mask follow from the image."""
    image = np.random.default_rng(0).permutation(np.prod(shape)).reshape(shape)
    return Patch(image, image // 3, image % 2 == 0)


@settings(max_examples=50)
@given(seed=st.integers(0, 2**32), shape=st.sampled_from([(4, 6, 8), (5, 7, 7), (1, 4, 4)]))
def test_image_labels_and_mask_stay_aligned(seed, shape):
    patch = augment_geometry(sample(sampling_shape(EVERYTHING, shape)), shape, EVERYTHING, np.random.default_rng(seed))
    assert patch.image.shape == shape
    np.testing.assert_array_equal(patch.labels, patch.image // 3)
    np.testing.assert_array_equal(patch.mask, patch.image % 2 == 0)


def test_all_sixteen_orientations_of_a_square_patch_are_seen():
    flips = NOTHING.model_copy(update={"flips": True})
    whole = sample((2, 3, 3))
    random = np.random.default_rng(0)
    seen = {augment_geometry(whole, (2, 3, 3), flips, random).image.tobytes() for _ in range(300)}
    assert len(seen) == 16


def test_a_slip_displaces_one_section_and_a_step_all_that_follow():
    shape = (6, 8, 8)
    ramp = np.broadcast_to(np.arange(24 * 24).reshape(24, 24), (6, 24, 24))
    whole = Patch(ramp, ramp, ramp >= 0)
    random = np.random.default_rng(3)
    slips, steps = set(), set()
    for _ in range(200):
        slip = augment_geometry(whole, shape, NOTHING.model_copy(update={"slip": 1.0}), random).image[:, 0, 0]
        slips.add(min(int((slip != value).sum()) for value in slip))
        step = augment_geometry(whole, shape, NOTHING.model_copy(update={"step": 1.0}), random).image[:, 0, 0]
        steps.add(int((np.diff(step) != 0).sum()))
    # Now and then the other place is the same one.
    assert 1 in slips <= {0, 1}
    assert 1 in steps <= {0, 1}


def test_nothing_happens_when_nothing_is_asked_for():
    whole = sample((3, 4, 4))
    random = np.random.default_rng(0)
    assert sampling_shape(NOTHING, (3, 4, 4)) == (3, 4, 4)
    np.testing.assert_array_equal(augment_geometry(whole, (3, 4, 4), NOTHING, random).image, whole.image)
    image = np.ones((3, 4, 4), np.float32)
    np.testing.assert_array_equal(augment_image(image.copy(), NOTHING, random), image)


@given(seed=st.integers(0, 2**32))
def test_images_stay_finite_and_of_their_shape_and_type(seed):
    image = np.random.default_rng(0).standard_normal((5, 16, 12)).astype(np.float32)
    changed = augment_image(image, EVERYTHING, np.random.default_rng(seed))
    assert changed.dtype == np.float32
    assert changed.shape == (5, 16, 12)
    assert np.isfinite(changed).all()


def test_missing_sections_hold_one_grey_value_and_are_at_most_as_many_as_asked_for():
    config = NOTHING.model_copy(update={"missing": 1.0, "missing_sections": 2})
    random = np.random.default_rng(0)
    counts = set()
    for _ in range(50):
        image = random.standard_normal((6, 8, 8)).astype(np.float32)
        changed = (augment_image(image.copy(), config, random) != image).any((1, 2))
        counts.add(int(changed.sum()))
    assert counts == {1, 2}
