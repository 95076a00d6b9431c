"""Pictures of arrays, volumes and paths are the same, and of what can be told from the values."""

from __future__ import annotations

import imagecodecs
import numpy as np
import pytest

import petavox
from petavox.pipeline.errors import RequestError, VolumeError

SIZE = (30, 6, 6)
GREY = np.random.default_rng(0).integers(0, 256, (6, 20, 24)).astype(np.uint8)


def test_an_array_a_volume_and_its_path_look_alike(small):
    path = small / "truth.zarr"
    volume = petavox.open(path)
    pixels = petavox.picture(volume).pixels
    np.testing.assert_array_equal(petavox.picture(path).pixels, pixels)
    np.testing.assert_array_equal(petavox.picture(volume[:], voxel_size=SIZE).pixels, pixels)


def test_grey_values_are_grey_and_labels_have_colours():
    grey = petavox.picture(GREY).pixels
    assert (grey == grey[..., :1]).all()
    named = petavox.picture(GREY.astype(np.uint64)).pixels
    assert (named != named[..., :1]).any()
    np.testing.assert_array_equal(petavox.picture(GREY, labels=True).pixels, named)


def test_segments_are_laid_over_an_image():
    labels = np.zeros(GREY.shape, np.uint64)
    np.testing.assert_array_equal(petavox.picture(labels, over=GREY).pixels, petavox.picture(GREY).pixels)
    with pytest.raises(RequestError, match="an image of as many"):
        petavox.picture(labels, over=GREY[:4])


def test_affinities_of_an_array_and_of_a_volume_look_alike(small):
    volume = petavox.open(small / "affinities.zarr")
    pixels = petavox.picture(volume).pixels
    np.testing.assert_array_equal(petavox.picture(volume[:], voxel_size=SIZE).pixels, pixels)
    np.testing.assert_array_equal(petavox.picture(volume[:] / 255, voxel_size=SIZE).pixels, pixels)


def test_the_planes_go_through_the_voxel_that_is_asked_for():
    labels = np.zeros((3, 8, 8), np.uint64)
    labels[2, 5, 6] = 9
    empty = petavox.picture(np.zeros_like(labels)).pixels
    assert (petavox.picture(labels, at=(2, 5, 6)).pixels != empty).any()
    np.testing.assert_array_equal(petavox.picture(labels, at=(0, 0, 0)).pixels, empty)
    with pytest.raises(RequestError, match="must lie in the volume"):
        petavox.picture(labels, at=(3, 0, 0))


def test_a_notebook_and_a_file_get_the_same_png(tmp_path):
    picture = petavox.picture(GREY)
    data = picture.save(str(tmp_path / "grey.png")).read_bytes()
    assert data == picture._repr_png_()
    np.testing.assert_array_equal(imagecodecs.png_decode(data), picture.pixels)


def test_a_mask_is_black_and_white():
    assert set(np.unique(petavox.picture(GREY > 100).pixels)) == {0, 255}


@pytest.mark.parametrize("shape", [(4, 4), (2, 4, 4, 4)])
def test_what_has_no_three_axes_or_channels_is_refused(shape):
    with pytest.raises(VolumeError, match="found the shape"):
        petavox.picture(np.zeros(shape))
