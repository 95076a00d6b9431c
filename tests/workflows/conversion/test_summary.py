"""A conversion ends with one line that tells what it came to, and with a picture if one is wanted."""

import imagecodecs
import numpy as np
import pytest
from fakes.foreign import GREY, converted, grey, pages

from petavox.pipeline.errors import RequestError
from petavox.pipeline.geometry import Box
from petavox.pipeline.volumes import VolumeSpec, create_volume
from petavox.workflows.conversion.preview import preview_of


def test_the_line_says_sections_shape_type_size_and_range(tmp_path):
    line = converted(pages(tmp_path / "em.tif", GREY), tmp_path).line
    assert line == (
        f"{tmp_path}/out0.zarr: 7 sections, page 0 to page 6; 7 × 20 × 25 voxels (z, y, x) uint8; "
        f"30 × 6 × 6 nm a voxel, 0.21 × 0.12 × 0.15 µm in all; grey values {GREY.min()} to {GREY.max()}"
    )


def test_a_part_and_channels_are_told(tmp_path):
    path = pages(tmp_path / "em.tif", grey(dtype="float32"))
    line = converted(path, tmp_path, box=Box((2, 0, 0), (5, 20, 25))).line
    assert "sections 2 to 4 of 7 sections" in line
    assert "3 × 20 × 25 voxels (z, y, x) float32" in line
    source = create_volume(tmp_path / "aff.zarr", VolumeSpec((2, 3, 4), "uint8", (30, 6, 6), channels=3))
    assert "2 sections; 3 channels of 2 × 3 × 4 voxels" in converted(source.path, tmp_path).line


def test_the_range_is_that_of_finite_values_and_large_ids_are_exact(tmp_path):
    odd = grey(dtype="float32")
    odd[0, 0, :3] = np.nan, np.inf, -np.inf
    found = converted(pages(tmp_path / "em.tif", odd), tmp_path)
    assert f"to {odd[np.isfinite(odd)].max():.10g}" in found.line
    assert "3 voxels are infinite or not a number" in found.said
    ids = GREY.astype(np.uint64) + 2**60
    assert f"grey values {2**60 + int(GREY.min())} to" in converted(pages(tmp_path / "ids.tif", ids), tmp_path).line


@pytest.mark.parametrize("value", [0, 255, np.nan])
def test_a_volume_of_one_value_is_said_aloud(value, tmp_path):
    dtype = np.float32 if np.isnan(value) else np.uint8
    found = converted(pages(tmp_path / "em.tif", np.full((3, 20, 25), value, dtype)), tmp_path)
    assert "are its chunks there?" in found.said


def test_a_preview_shows_three_sections_to_scale(tmp_path):
    picture = tmp_path / "em.png"
    found = converted(pages(tmp_path / "em.tif", GREY), tmp_path, preview=picture)
    pixels = imagecodecs.png_decode(picture.read_bytes())
    np.testing.assert_array_equal(pixels, preview_of(found.volume))
    section, depth, gap = (20, 25), 7 * 5, 4  # a voxel is five times as deep as wide
    assert pixels.shape == (section[0] + gap + depth, section[1] + gap + depth)
    middle = GREY[3].astype(int)
    order = np.argsort(middle, axis=None)
    assert (np.diff(pixels[:20, :25].ravel()[order].astype(int)) >= 0).all()  # brighter stays brighter


def test_a_preview_of_a_long_thin_volume_stays_small(tmp_path):
    volume = create_volume(tmp_path / "v.zarr", VolumeSpec((3000, 4, 5), "uint8", (2000, 2, 2)))
    assert max(preview_of(volume).shape) <= 2 * 2048 + 4


@pytest.mark.parametrize(("name", "words"), [("em.jpg", "a PNG"), ("em.tif", "a PNG"), ("no/em.png", "does not exist")])
def test_a_preview_that_cannot_be_is_refused_before_anything_is_written(name, words, tmp_path):
    path = pages(tmp_path / "em.tif", GREY)
    with pytest.raises(RequestError, match=words):
        converted(path, tmp_path, preview=tmp_path / name)
    (tmp_path / "there.png").touch()
    with pytest.raises(RequestError, match="not overwritten"):
        converted(path, tmp_path, preview=tmp_path / "there.png")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["em.tif", "there.png"]
