import numpy as np
import pytest

from petavox.pipeline.affinities.normalisation import Normalisation, as_tensor, estimate_normalisation
from petavox.pipeline.errors import VolumeError


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


@pytest.mark.parametrize("fill_value", [None, 7])
def test_a_volume_of_one_value_is_refused(fill_value):
    grey = np.full((4, 5, 6), 7, np.uint8)
    with pytest.raises(VolumeError, match="must vary"):
        estimate_normalisation(reader(grey), grey.shape, fill_value=fill_value)


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
    with pytest.raises(VolumeError, match="all 0 sampled voxels that are finite"):
        estimate_normalisation(reader(np.full((4, 5, 6), np.nan, np.float32)), (4, 5, 6))


@pytest.mark.parametrize("factor", [1e-9, 1e-3, 1e9])
def test_the_unit_of_grey_values_makes_no_difference(factor):
    grey = volume().astype(np.float64)
    found, scaled = (estimate_normalisation(reader(g), grey.shape) for g in (grey, grey * factor))
    assert scaled.mean == pytest.approx(found.mean * factor, rel=1e-3)
    assert scaled.deviation == pytest.approx(found.deviation * factor, rel=1e-3)
