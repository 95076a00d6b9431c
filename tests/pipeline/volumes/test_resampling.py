"""The value at a voxel is that of the nearest voxel of the other volume, by position, whatever box is read."""

from __future__ import annotations

import itertools
import json

import numpy as np
import pytest
import tensorstore as ts
from hypothesis import given, settings
from hypothesis import strategies as st

from petavox.pipeline.errors import VolumeError
from petavox.pipeline.geometry import Box
from petavox.pipeline.volumes import (
    VolumeSource,
    VolumeSpec,
    check_covers,
    coarse_centre,
    create_volume,
    read_nearest_voxels,
)
from twins import regions

SHAPE = (5, 7, 9)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("volumes")


counter = itertools.count()


def stored(folder, voxels, size, place=(0.0, 0.0, 0.0)):
    spec = VolumeSpec(voxels.shape, voxels.dtype.name, size, place, chunk=voxels.shape)
    volume = create_volume(folder / f"{next(counter)}.zarr", spec)
    volume.write(spec.box, voxels)
    return volume


def slowly(values, size, place, fine_size, fine_place, voxel):
    """The value at one voxel, by looking at the distances along each axis."""
    at = []
    for axis in range(3):
        there = fine_place[axis] + voxel[axis] * fine_size[axis]
        centres = place[axis] + np.arange(-9, values.shape[axis] + 9) * size[axis]
        distance = np.abs(centres - there)
        nearest = np.flatnonzero(np.isclose(distance, distance.min(), rtol=0, atol=1e-7 * size[axis]))[-1] - 9
        at.append(nearest)
    if any(a < -1 or a > n for a, n in zip(at, values.shape, strict=True)):
        return 0
    return values[tuple(min(max(a, 0), n - 1) for a, n in zip(at, values.shape, strict=True))]


lengths = st.sampled_from([4.0, 6.0, 7.0, 8.0, 12.0, 30.0])


@settings(deadline=None, max_examples=40)
@given(st.data())
def test_every_voxel_gets_the_value_that_lies_nearest(folder, data):
    size, fine_size = data.draw(st.tuples(*[lengths] * 3)), data.draw(st.tuples(*[lengths] * 3))
    place = data.draw(st.tuples(*[st.sampled_from([-20.0, -3.0, 0.0, 3.5, 14.0])] * 3))
    shape = data.draw(st.tuples(*[st.integers(1, 6)] * 3))
    values = np.random.default_rng(0).integers(1, 9, shape).astype(np.uint8)
    mask, volume = stored(folder, values, size, place), stored(folder, np.zeros(SHAPE, np.uint8), fine_size)
    box = data.draw(regions(SHAPE))
    found = read_nearest_voxels(mask, volume, box)
    for voxel in itertools.product(*map(range, box.start, box.stop)):
        expected = slowly(values, size, place, fine_size, (0, 0, 0), voxel)
        assert found[tuple(a - b for a, b in zip(voxel, box.start, strict=True))] == expected


def test_a_coarse_volume_whose_cells_are_whole_voxels_is_repeated(folder):
    values = np.arange(1, 28, dtype=np.uint8).reshape(3, 3, 3)
    volume = stored(folder, np.zeros(SHAPE, np.uint8), (30, 6, 6), (90, 12, 6))
    mask = stored(folder, values, (60, 18, 24), coarse_centre(volume, (2, 3, 4)))
    whole = values.repeat(2, 0).repeat(3, 1).repeat(4, 2)[tuple(map(slice, SHAPE))]
    assert np.array_equal(read_nearest_voxels(mask, volume, Box.of_shape(SHAPE)), whole)


@pytest.mark.parametrize("kind", ["precomputed", "zarr"])
def test_formats_that_state_corners_agree_with_those_that_state_centres(folder, kind):
    """A pyramid of a format that states corners has one position for all levels; ours moves by half a voxel."""
    values = np.arange(1, 28, dtype=np.uint8).reshape(3, 3, 3)
    volume = stored(folder, np.zeros((6, 12, 12), np.uint8), (30, 6, 6), (15, 3, 3))  # the centre of its first voxel
    path = folder / f"{kind}{next(counter)}"
    store = {"driver": "file", "path": str(path)}
    if kind == "precomputed":
        scale = {"key": "c", "size": [3, 3, 3], "resolution": [24, 24, 60], "encoding": "raw", "chunk_size": [4, 4, 4]}
        info = {"type": "image", "data_type": "uint8", "num_channels": 1}
        spec = {"driver": "neuroglancer_precomputed", "multiscale_metadata": info, "scale_metadata": scale}
        ts.open({**spec, "kvstore": store}, create=True).result()[..., 0].write(values.transpose()).result()
    else:
        opened = ts.open({"driver": kind, "kvstore": store}, create=True, dtype="uint8", shape=(3, 3, 3)).result()
        opened.write(values).result()
        (path / ".zattrs").write_text(json.dumps({"resolution": [60, 24, 24]}))
    whole = values.repeat(2, 0).repeat(4, 1).repeat(4, 2)
    mask = VolumeSource.of(path).open()
    assert np.array_equal(read_nearest_voxels(mask, volume, volume.spec.box), whole)


def test_levels_of_an_n5_pyramid_lie_over_one_another(folder):
    path = folder / "n5"
    values = np.arange(1, 28, dtype=np.uint8).reshape(3, 3, 3)
    for level, (voxels, size) in enumerate(((np.zeros((6, 12, 12), np.uint8), [6, 6, 30]), (values, [24, 24, 60]))):
        spec = {"driver": "n5", "kvstore": {"driver": "file", "path": str(path / f"s{level}")}}
        stored = ts.open(spec, create=True, dtype="uint8", shape=voxels.shape[::-1]).result()
        stored.write(voxels.transpose()).result()
        attributes = path / f"s{level}" / "attributes.json"
        factors = [4, 4, 2] if level else [1, 1, 1]
        more = {"resolution": size, "downsamplingFactors": factors}
        attributes.write_text(json.dumps(json.loads(attributes.read_text()) | more))
    volume, mask = (VolumeSource(path=str(path), level=level).open() for level in (0, 1))
    whole = values.repeat(2, 0).repeat(4, 1).repeat(4, 2)
    assert np.array_equal(read_nearest_voxels(mask, volume, volume.spec.box), whole)


def test_a_mask_covers_a_volume_to_one_of_its_own_voxels(folder):
    volume = stored(folder, np.zeros(SHAPE, np.uint8), (30, 6, 6))
    for shape, place, covers in (
        ((2, 3, 3), (15, 6, 6), True),
        ((2, 2, 2), (15, 6, 6), True),
        ((2, 3, 1), (15, 6, 6), False),
        ((2, 3, 3), (15, 6, 36), False),
    ):
        mask = stored(folder, np.ones(shape, np.uint8), (60, 18, 18), place)
        if covers:
            check_covers(mask, volume, volume.spec.box)
            assert read_nearest_voxels(mask, volume, volume.spec.box).all()
        else:
            with pytest.raises(VolumeError, match=r"along x .*\.zarr lies from .* to .* nm.*offset_nm"):
                check_covers(mask, volume, volume.spec.box)
            assert not read_nearest_voxels(mask, volume, volume.spec.box).all()
    check_covers(stored(folder, np.ones((2, 3, 1), np.uint8), (60, 18, 18)), volume, Box((0, 0, 0), (5, 7, 2)))


def test_a_mask_with_channels_is_refused(folder):
    volume = stored(folder, np.zeros(SHAPE, np.uint8), (30, 6, 6))
    mask = create_volume(folder / "channels.zarr", VolumeSpec(SHAPE, "uint8", (30, 6, 6), channels=2))
    with pytest.raises(VolumeError, match=r"has 2 channels besides.*channel = 0"):
        check_covers(mask, volume, volume.spec.box)
