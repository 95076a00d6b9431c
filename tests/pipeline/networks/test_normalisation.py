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


@pytest.mark.parametrize("fill_value", [None, 7])
def test_a_volume_of_one_value_is_refused(fill_value):
    grey = np.full((4, 5, 6), 7, np.uint8)
    with pytest.raises(VolumeError, match="must vary"):
        estimate_normalisation(reader(grey), grey.shape, fill_value=fill_value)
