"""Raw data and labels to train on belong together; what nobody has labelled is masked; nobody trains on nothing."""

import numpy as np
import pytest
import tifffile

from petavox.pipeline.errors import VolumeError
from petavox.pipeline.geometry import Box
from petavox.pipeline.volumes import VolumeSpec, create_volume
from petavox.workflows.models.labelled_volume import read_labelled
from petavox.workflows.models.train import train_from_recipe

SHAPE, SIZE = (8, 32, 32), (30.0, 6.0, 6.0)
RANDOM = np.random.default_rng(0)
RAW = RANDOM.integers(1, 255, SHAPE).astype(np.uint8)
LABELS = RANDOM.integers(0, 4, SHAPE).astype(np.uint32)


def put(path, array, **spec):
    settings = {"voxel_size": SIZE, "chunk": (4, 16, 16), "channels": len(array) if array.ndim == 4 else None}
    volume = create_volume(path, VolumeSpec(array.shape[-3:], array.dtype.name, **(settings | spec)))
    volume.write(Box.of_shape(array.shape[-3:]), array)
    return str(path)


def read(tmp_path, raw=RAW, labels=LABELS, mask=None, said=None, **of_labels):
    paths = put(tmp_path / "raw.zarr", raw), put(tmp_path / "labels.zarr", labels, **of_labels)
    masked = None if mask is None else put(tmp_path / "mask.zarr", mask)
    return read_labelled(*paths, masked, SIZE, (said if said is not None else []).append)


def test_volumes_and_tiffs_are_read_alike(tmp_path):
    for name, array in (("raw", RAW), ("labels", LABELS)):
        tifffile.imwrite(tmp_path / f"{name}.tif", array)
    stacks = read_labelled(str(tmp_path / "raw.tif"), str(tmp_path / "labels.tif"), None, SIZE, print)
    for found in (stacks, read(tmp_path)):
        np.testing.assert_array_equal(found.raw, RAW)
        np.testing.assert_array_equal(found.labels, LABELS)
        assert found.mask.all()


@pytest.mark.parametrize(
    "unknown", [np.int32(-1), np.int64(-5), np.uint64(2**64 - 1), np.uint32(2**32 - 1), np.float32(-1)]
)
def test_labels_that_mark_the_unknown_are_masked_aloud(unknown, tmp_path):
    labels, said = LABELS.astype(unknown.dtype), []
    labels[:3] = unknown
    found = read(tmp_path, labels=labels, said=said)
    assert not found.mask[:3].any()
    assert found.mask[3:].all()
    np.testing.assert_array_equal(found.labels[3:], LABELS[3:])
    assert f"{3 * 32 * 32:,} voxels are labelled below 0" in " ".join(said)


def test_voxels_without_a_number_are_masked_aloud(tmp_path):
    raw, said = RAW.astype(np.float32), []
    raw[:2], raw[2, 0, 0] = np.nan, np.inf
    mask = np.ones(SHAPE, np.uint8)
    mask[-1] = 0
    found = read(tmp_path, raw=raw, mask=mask, said=said)
    np.testing.assert_array_equal(found.mask, np.isfinite(raw) & (mask != 0))
    assert "infinite or not a number" in " ".join(said)


WRONG = {
    "another shape": ({"labels": LABELS[:7]}, r"one shape.*\(8, 32, 32\).*\(7, 32, 32\).*--box"),
    "another voxel size": ({"voxel_size": (30, 4, 4)}, r"voxel size of a recipe.*\[30.0, 4.0, 4.0\].*--voxel-size"),
    "channels": ({"labels": np.stack([LABELS] * 2)}, "2 channels besides.*--channel 0"),
    "an image for labels": ({"labels": RAW.astype(np.float32) / 255}, "whole numbers.*Is it an image"),
    "a mask of another shape": ({"mask": np.ones((8, 32, 31), np.uint8)}, "one shape"),
}


@pytest.mark.parametrize("kind", WRONG)
def test_volumes_that_do_not_belong_together_are_refused(kind, tmp_path):
    options, words = WRONG[kind]
    with pytest.raises(VolumeError, match=words):
        read(tmp_path, **options)


def test_two_places_are_refused_and_one_that_is_not_stated_is_mentioned(tmp_path):
    said = []
    read(tmp_path, said=said, translation=(300, 0, 0))
    assert "taken to lie in one place" in " ".join(said)
    moved = put(tmp_path / "moved.zarr", RAW, translation=(30, 0, 0))
    with pytest.raises(VolumeError, match="lie in one place"):
        read_labelled(moved, str(tmp_path / "labels.zarr"), None, SIZE, print)


@pytest.mark.parametrize(
    "labels", [np.zeros(SHAPE, np.uint32), np.full(SHAPE, -1, np.int32)], ids=["background", "unknown"]
)
def test_nobody_trains_on_nothing(labels, tmp_path):
    put(tmp_path / "raw.zarr", RAW)
    put(tmp_path / "labels.zarr", labels)
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(
        "voxel_size = [30.0, 6.0, 6.0]\n[network]\nwidths = [2, 3]\nstride = [1, 2, 2]\n"
        "[training]\npatch = [4, 16, 16]\nsteps = 1\nthreads = 1\n"
        '[[volume]]\nraw = "raw.zarr"\nlabels = "labels.zarr"\n'
    )
    with pytest.raises(VolumeError, match=r"labels without an object.*background"):
        train_from_recipe(recipe, tmp_path / "training")
    assert not (tmp_path / "training").exists()
