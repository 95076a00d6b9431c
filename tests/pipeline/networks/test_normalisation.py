import numpy as np
import pytest

from petavox.pipeline.errors import VolumeError
from petavox.pipeline.networks.normalisation import Normalisation, as_tensor, estimate_normalisation


def volume(shape=(8, 100, 90)):
    return np.random.default_rng(1).normal(120, 30, shape).clip(0, 255).astype(np.uint8)


def reader(array):
    return lambda box: array[box.slices()]


def test_normalised_grey_values_have_mean_0_and_deviation_1():
    grey = volume()
    normalisation = Normalisation(mean=float(grey.mean()), deviation=float(grey.std()))
    for stored in (grey, grey.astype(np.uint16), grey.astype(np.float64)):
        normalised = normalisation.apply(as_tensor(stored)).numpy()
        assert normalised.dtype == np.float32
        assert abs(normalised.mean()) < 1e-3
        assert abs(normalised.std() - 1) < 1e-3


def test_estimate_is_near_the_truth_and_the_same_every_time():
    grey = volume()
    found = estimate_normalisation(reader(grey), grey.shape)
    assert found == estimate_normalisation(reader(grey), grey.shape)
    assert abs(found.mean - grey.mean()) < 1
    assert abs(found.deviation - grey.std()) < 1


def test_fill_value_does_not_count():
    grey = volume()
    grey[:, :50] = 0
    found = estimate_normalisation(reader(grey), grey.shape, fill_value=0)
    assert abs(found.mean - grey[grey != 0].mean()) < 1


def test_large_grey_values_do_not_lose_their_deviation():
    grey = volume().astype(np.uint16) + 60000
    found = estimate_normalisation(reader(grey), grey.shape)
    assert abs(found.deviation - grey.std()) < 1


def test_a_volume_of_one_value_is_refused():
    grey = np.full((4, 5, 6), 7, np.uint8)
    with pytest.raises(VolumeError, match="must vary"):
        estimate_normalisation(reader(grey), grey.shape)


def sparse(part=0.02, shape=(40, 600, 600)):
    """A volume with image in a corner of it alone, and where that is."""
    grey, image = np.zeros(shape, np.uint8), np.zeros(shape, bool)
    image[: int(shape[0] * part**0.33), : int(shape[1] * part**0.33), : int(shape[2] * part**0.33)] = True
    grey[image] = np.random.default_rng(2).normal(90, 20, int(image.sum())).clip(1, 255)
    return grey, image


def test_boxes_are_drawn_until_enough_voxels_hold_image():
    """The first 64 boxes meet next to none, and chance would decide."""
    grey, image = sparse()
    seen = []

    def read(box):
        seen.append(box)
        return grey[box.slices()]

    found = estimate_normalisation(read, grey.shape, fill_value=0)
    assert sum(int(image[box.slices()].sum()) for box in seen[:64]) < 64 * 4 * 64 * 64 // 8
    assert sum(int(image[box.slices()].sum()) for box in seen) >= 64 * 4 * 64 * 64 // 8
    assert len(seen) < 2048
    assert abs(found.mean - grey[image].mean()) < 0.5
    assert abs(found.deviation - grey[image].std()) < 0.5
    assert found == estimate_normalisation(read, grey.shape, fill_value=0)


def test_only_voxels_inside_the_mask_count_and_boxes_outside_are_not_read():
    grey, inside = sparse(0.1)
    grey[~inside] = np.random.default_rng(3).integers(150, 250, int((~inside).sum()))

    def read(box):
        assert inside[box.slices()].any()
        return grey[box.slices()]

    found = estimate_normalisation(read, grey.shape, fill_value=0, inside=reader(inside))
    assert abs(found.mean - grey[inside].mean()) < 0.5
    assert abs(found.deviation - grey[inside].std()) < 0.5


@pytest.mark.parametrize("fill_value", [0, 7])
def test_where_the_first_boxes_suffice_the_estimate_is_that_of_older_versions(fill_value):
    """Runs begun before boxes were drawn until there are enough are continued."""
    grey = volume()
    grey[:, :50] = fill_value
    found = estimate_normalisation(reader(grey), grey.shape, fill_value=fill_value)
    assert found == Normalisation(mean=119.3509, deviation=29.9871)


@pytest.mark.parametrize("masked", [False, True])
def test_a_volume_without_image_is_refused_with_the_cure(masked):
    grey = np.full((8, 90, 90), 7 if not masked else 100, np.uint8)
    inside = np.zeros(grey.shape, bool) if masked else None
    with pytest.raises(VolumeError, match=r"have 0 that are not .*State the mean and deviation.*mask"):
        estimate_normalisation(
            reader(grey), grey.shape, fill_value=7, inside=None if inside is None else reader(inside)
        )


def test_what_is_no_number_does_not_count_and_is_the_mean():
    grey = volume().astype(np.float32)
    odd = grey.copy()
    odd[:, :20], odd[:, 20:25], odd[:, 25:30] = np.nan, np.inf, -np.inf
    found = estimate_normalisation(reader(odd), grey.shape)
    assert found == estimate_normalisation(reader(np.where(np.isfinite(odd), odd, -5)), grey.shape, fill_value=-5)
    scaled = found.apply(as_tensor(odd)).numpy()
    assert (scaled[~np.isfinite(odd)] == 0).all()
    np.testing.assert_array_equal(scaled[:, 30:], found.apply(as_tensor(grey[:, 30:])).numpy())


def test_a_volume_without_a_number_is_refused():
    with pytest.raises(VolumeError, match="have 0 that are not infinite"):
        estimate_normalisation(reader(np.full((4, 5, 6), np.nan, np.float32)), (4, 5, 6))


@pytest.mark.parametrize("factor", [1e-9, 1e-3, 1e9])
def test_the_unit_of_grey_values_makes_no_difference(factor):
    grey = volume().astype(np.float64)
    found, scaled = (estimate_normalisation(reader(g), grey.shape) for g in (grey, grey * factor))
    assert scaled.mean == pytest.approx(found.mean * factor, rel=1e-3)
    assert scaled.deviation == pytest.approx(found.deviation * factor, rel=1e-3)
