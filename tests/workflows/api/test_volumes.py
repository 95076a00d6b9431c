"""A volume is indexed like the array that it holds, reads no voxel more, and refuses what it cannot read at once."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import petavox
from petavox.pipeline.errors import RequestError, VolumeError
from petavox.pipeline.geometry import Box
from petavox.pipeline.volumes import VolumeSpec
from petavox.workflows.api.volumes import Volume

SHAPE = (3, 4, 6, 5)


class Remembered:
    """Voxels in memory, and the boxes of them that were read."""

    path = "memory"

    def __init__(self, array):
        channels = array.shape[0] if array.ndim == 4 else None
        self.spec = VolumeSpec(array.shape[-3:], array.dtype.name, (30, 6, 6), channels=channels)
        self._array, self.boxes = array, []

    def read(self, box, channels=None):
        self.boxes.append(box)
        return self._array[box.slices() if channels is None else (channels, *box.slices())].copy()


def indices(length):
    limit = st.none() | st.integers(-2 * length, 2 * length)
    return st.integers(-length, length - 1) | st.builds(slice, limit, limit, st.none() | st.just(1))


def keys(shape):
    """Every way to index an array of a shape by integers and slices, with '…' or without."""
    several = st.integers(0, len(shape)).flatmap(lambda n: st.tuples(*map(indices, shape[:n])))
    dotted = st.integers(0, len(shape)).flatmap(
        lambda n: (
            st.tuples(*map(indices, shape[:n]), st.just(...))
            | st.tuples(st.just(...), *map(indices, shape[len(shape) - n :]))
        )
    )
    return several | dotted | indices(shape[0])


@given(data=st.data(), channels=st.booleans())
def test_indexing_gives_what_the_array_gives_and_reads_no_more(data, channels):
    shape = SHAPE if channels else SHAPE[1:]
    array = np.arange(np.prod(shape), dtype=np.uint16).reshape(shape)
    source = Remembered(array)
    key = data.draw(keys(shape))
    found = Volume(source)[key]
    assert found.dtype == array.dtype
    np.testing.assert_array_equal(found, array[key])
    voxels = sum(box.voxels for box in source.boxes)
    assert voxels * (SHAPE[0] if channels else 1) >= found.size
    assert voxels <= found.size


@pytest.mark.parametrize(
    ("key", "rule"),
    [
        (slice(0, 4, 2), "a slice has no step; found 2 along z"),
        ((0, slice(None, None, -1)), "no step; found -1 along y"),
        ([0, 1], r"integers and slices; found \[0, 1\] along z"),
        ((0, None), "integers and slices; found None along y"),
        (True, "found True along z"),
        (1.0, "found 1.0 along z"),
        ((0, 0, 0, 0), "an index for each axis"),
        ((..., 0, ...), "at most one"),
    ],
)
def test_what_cannot_be_read_as_a_box_is_refused(key, rule):
    with pytest.raises(VolumeError, match=rule):
        Volume(Remembered(np.zeros(SHAPE[1:], np.uint8)))[key]


@pytest.mark.parametrize("key", [4, -5, (0, 6), (0, 0, -6)])
def test_an_index_outside_is_an_index_error_as_of_any_sequence(key):
    with pytest.raises(IndexError, match=r"voxels along [zyx]; found index"):
        Volume(Remembered(np.zeros(SHAPE[1:], np.uint8)))[key]


def test_it_is_an_array_for_numpy_and_a_row_of_sections_for_a_loop():
    array = np.random.default_rng(0).random(SHAPE[1:]).astype(np.float32)
    volume = Volume(Remembered(array))
    np.testing.assert_array_equal(np.asarray(volume), array)
    np.testing.assert_array_equal(np.asarray(volume, dtype=np.float64), array.astype(np.float64))
    np.testing.assert_array_equal(np.stack(list(volume)), array)
    assert (len(volume), volume.ndim, volume.dtype, volume.channels) == (4, 3, array.dtype, None)
    with pytest.raises(VolumeError, match="always makes a copy"):
        np.array(volume, copy=False)


def test_a_part_that_does_not_fit_into_memory_is_refused_before_it_is_read():
    source = Remembered(np.zeros((1, 1, 1), np.uint8))
    source.spec = replace(source.spec, shape=(10**6, 10**6, 10**6))
    with pytest.raises(VolumeError, match=r"takes 1e\+03 PB in memory"):
        Volume(source)[...]
    assert source.boxes == []


def test_a_volume_is_opened_from_text_and_from_a_path_and_stands_for_its_path(small):
    text, path = petavox.open(str(small / "truth.zarr")), petavox.open(small / "truth.zarr")
    assert text.path == path.path == os.fspath(path) == str(small / "truth.zarr")
    assert path.voxel_size == (30.0, 6.0, 6.0)
    np.testing.assert_array_equal(petavox.open(path)[3], text[3])


def test_a_notebook_shows_what_is_known_of_it(small):
    volume = petavox.open(small / "affinities.zarr")
    shown = volume._repr_html_()
    assert "3 × 10 × 40 × 36 (c, z, y, x)" in shown
    assert "0.3 × 0.24 × 0.216 µm" in shown
    assert repr(volume).startswith("Volume('")


def test_a_tiff_file_is_no_volume_yet_and_the_error_says_what_makes_one_of_it(tmp_path):
    (tmp_path / "stack.tif").write_bytes(b"II*\0")
    with pytest.raises(VolumeError, match=r"convert"):
        petavox.open(tmp_path / "stack.tif")


def test_converting_takes_a_part_by_two_corners(small, tmp_path):
    corners = ((2, 4, 4), (6, 20, 30))
    part = petavox.convert(small / "truth.zarr", tmp_path / "part.zarr", box=corners, progress=False)
    np.testing.assert_array_equal(part[:], petavox.open(small / "truth.zarr")[2:6, 4:20, 4:30])
    with pytest.raises(RequestError, match="first voxel and its end"):
        petavox.convert(small / "truth.zarr", Path("x.zarr"), box=(0, 1), progress=False)
    assert Box((2, 4, 4), (6, 20, 30)).shape == part.shape
