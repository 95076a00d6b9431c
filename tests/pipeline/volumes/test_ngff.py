"""OME-NGFF of every version: axes and sizes are read where they are stated, and asked for where they are not."""

import numpy as np
import pytest
import zarr

from petavox.pipeline.errors import VolumeError
from petavox.pipeline.volumes import open_volume

VOXELS = np.random.default_rng(0).integers(1, 255, (5, 6, 7), dtype=np.uint8)
SIZE = (30.0, 6.0, 6.5)
SCALE = {"type": "scale", "scale": list(SIZE)}
NANOMETRES = [{"name": name, "type": "space", "unit": "nanometer"} for name in "zyx"]


def image(path, transforms=(SCALE,), *, axes=NANOMETRES, array=VOXELS, version="0.4", levels=("0",), **more):
    """A group with one image, whose arrays are equal."""
    group = zarr.open_group(str(path), mode="w", zarr_format=2 if version < "0.5" else 3)
    for level in levels:
        group.create_array(level, shape=array.shape, chunks=array.shape, dtype=array.dtype)[...] = array
    listed = [{"path": level, "coordinateTransformations": transforms} for level in levels]
    document = {"version": version, "datasets": listed, **({"axes": axes} if axes is not None else {}), **more}
    where = {"multiscales": [document]}
    group.attrs.update(where if version < "0.5" else {"ome": {"version": version, **where}})
    return path


def in_unit(unit):
    return [axis | {"unit": unit} for axis in NANOMETRES]


TRANSFORMED = {
    "scaled, then shifted": ([SCALE, {"type": "translation", "translation": [300, 0, 13]}], (300, 0, 13)),
    "shifted, then scaled": ([{"type": "translation", "translation": [10, 0, 2]}, SCALE], (300, 0, 13)),
    "not changed": ([{"type": "identity"}, SCALE], (0, 0, 0)),
    "a sequence": ([{"type": "sequence", "transformations": [SCALE, {"type": "identity"}]}], (0, 0, 0)),
    "a matrix": ([{"type": "affine", "affine": [[30, 0, 0, 5], [0, 6, 0, 0], [0, 0, 6.5, 0]]}], (5, 0, 0)),
}


@pytest.mark.parametrize("kind", TRANSFORMED)
def test_transformations_that_scale_and_shift_give_size_and_place(kind, tmp_path):
    transforms, translation = TRANSFORMED[kind]
    spec = open_volume(image(tmp_path / "v", transforms)).spec
    assert spec.voxel_size == pytest.approx(SIZE)
    assert spec.translation == pytest.approx(translation)


def test_transformations_of_the_image_follow_those_of_the_level(tmp_path):
    half = {"type": "scale", "scale": [s / 2 for s in SIZE]}
    double = [{"type": "scale", "scale": [2, 2, 2]}, {"type": "translation", "translation": [1, 2, 3]}]
    spec = open_volume(image(tmp_path / "v", [half], coordinateTransformations=double)).spec
    assert (spec.voxel_size, spec.translation) == (pytest.approx(SIZE), (1, 2, 3))


NO_SIZE = {
    "a scale of two axes": ([{"type": "scale", "scale": [30, 6]}], NANOMETRES),
    "a scale of five axes": ([{"type": "scale", "scale": [1, 1, 30, 6, 6]}], NANOMETRES),
    "a scale elsewhere": ([{"type": "scale", "path": "scales"}], NANOMETRES),
    "a scale below 0": ([{"type": "scale", "scale": [-30, 6, 6]}], NANOMETRES),
    "a scale of 0": ([{"type": "scale", "scale": [0, 6, 6]}], NANOMETRES),
    "a scale in words": ([{"type": "scale", "scale": ["30", "6", "6"]}], NANOMETRES),
    "a scale that is no number": ([{"type": "scale", "scale": [float("nan"), 6, 6]}], NANOMETRES),
    "a rotation": ([{"type": "rotation", "rotation": [[1, 0, 0]] * 3}], NANOMETRES),
    "a matrix that shears": ([{"type": "affine", "affine": [[30, 1, 0, 0], [0, 6, 0, 0], [0, 0, 6, 0]]}], NANOMETRES),
    "something unknown": ([{"type": "byDimension"}], NANOMETRES),
    "no list": ({"type": "scale"}, NANOMETRES),
    "nothing": ([], NANOMETRES),
    "no unit": ([SCALE], [{"name": name, "type": "space"} for name in "zyx"]),
    "an empty unit": ([SCALE], in_unit("")),
    "a blank unit": ([SCALE], in_unit(" ")),
    "pixels": ([SCALE], in_unit("pixel")),
    "a unit that is no text": ([SCALE], in_unit({"a": 1})),
}


@pytest.mark.parametrize("kind", NO_SIZE)
def test_a_size_that_is_none_is_asked_for_and_the_user_always_wins(kind, tmp_path):
    transforms, axes = NO_SIZE[kind]
    path = image(tmp_path / "v", transforms, axes=axes)
    with pytest.raises(VolumeError, match=r"voxel size.*--voxel-size 30,6,6"):
        open_volume(path)
    for given in (path, path / "0"):
        volume = open_volume(given, voxel_size=SIZE)
        assert volume.spec.voxel_size == SIZE
        np.testing.assert_array_equal(volume.read(volume.spec.box), VOXELS)


@pytest.mark.parametrize(
    ("unit", "nm"), [("centimeter", 1e7), ("micrometre", 1e3), ("Angstroms", 0.1), ("foot", 304.8e6)]
)
def test_units_are_known_in_many_spellings(unit, nm, tmp_path):
    path = image(tmp_path / "v", [{"type": "scale", "scale": [s / nm for s in SIZE]}], axes=in_unit(unit))
    assert open_volume(path).spec.voxel_size == pytest.approx(SIZE)


@pytest.mark.parametrize("axes", [None, [], NANOMETRES[:2], {"z": 1}, [1, 2, 3], [{"name": n} for n in "zyy"]], ids=str)
def test_axes_that_do_not_fit_can_be_named(axes, tmp_path):
    path = image(tmp_path / "v", axes=axes)
    with pytest.raises(VolumeError, match="--axes zyx"):
        open_volume(path)
    assert open_volume(path, axes="zyx", voxel_size=SIZE).spec.shape == VOXELS.shape


def test_axes_that_a_user_names_are_those_of_the_scale(tmp_path):
    named = [{"name": name, "type": "space", "unit": "nanometer"} for name in ("width", "height", "depth")]
    path = image(tmp_path / "v", [{"type": "scale", "scale": SIZE[::-1]}], axes=named, array=VOXELS.T.copy())
    volume = open_volume(path, axes="xyz")
    assert volume.spec.voxel_size == SIZE
    np.testing.assert_array_equal(volume.read(volume.spec.box), VOXELS)


def test_channels_and_points_of_time_can_be_chosen(tmp_path):
    array = np.stack([np.stack([VOXELS, 255 - VOXELS]), np.stack([VOXELS // 2, VOXELS // 3])])
    axes = [{"name": "t", "type": "time"}, {"name": "c", "type": "channel"}, *NANOMETRES]
    path = image(tmp_path / "v", [{"type": "scale", "scale": [1, 1, *SIZE]}], axes=axes, array=array)
    with pytest.raises(VolumeError, match="--time 0"):
        open_volume(path)
    volume = open_volume(path, time=1, channel=1)
    assert (volume.spec.voxel_size, volume.spec.channels) == (SIZE, None)
    np.testing.assert_array_equal(volume.read(volume.spec.box), VOXELS // 3)
    assert open_volume(path, time=0).spec.channels == 2
    with pytest.raises(VolumeError, match="2 time points, counted from 0"):
        open_volume(path, time=2)


# --- version 0.6 ----------------------------------------------------------------------------------------------------


def in_systems(path, transforms, systems, **more):
    return image(path, transforms, axes=None, version="0.6", coordinateSystems=systems, **more)


PHYSICAL = {"name": "physical", "axes": NANOMETRES}


@pytest.mark.parametrize("names", [("0", "physical"), ({"path": "0"}, {"name": "physical"})], ids=["names", "objects"])
def test_axes_may_lie_in_coordinate_systems(names, tmp_path):
    transform = SCALE | {"input": names[0], "output": names[1]}
    path = in_systems(tmp_path / "v", [transform], [{"name": "atlas", "axes": in_unit("micrometer")}, PHYSICAL])
    assert open_volume(path).spec.voxel_size == SIZE


def test_units_may_be_those_of_a_system_one_step_further(tmp_path):
    bare = {"name": "own", "axes": [{"name": name, "type": "space"} for name in "zyx"]}
    path = in_systems(
        tmp_path / "v",
        [{"type": "identity", "input": "0", "output": "own"}],
        [bare, PHYSICAL],
        coordinateTransformations=[SCALE | {"input": "own", "output": "physical"}],
    )
    assert open_volume(path).spec.voxel_size == SIZE


def test_a_registration_with_something_else_is_no_part_of_the_size(tmp_path):
    registration = {"type": "affine", "affine": [[1, 2, 3, 4]] * 3, "input": "physical", "output": "atlas"}
    path = in_systems(
        tmp_path / "v",
        [SCALE | {"input": "0", "output": "physical"}],
        [PHYSICAL, {"name": "atlas", "axes": in_unit("micrometer")}],
        coordinateTransformations=[registration],
    )
    assert open_volume(path).spec.voxel_size == SIZE


# --- groups ---------------------------------------------------------------------------------------------------------


def test_what_is_odd_about_levels_is_said(tmp_path):
    path = image(tmp_path / "v", levels=("0", "1"))
    group = zarr.open_group(str(path), mode="a")
    document = group.attrs["multiscales"][0]
    document["datasets"][1] = {"path": "1", "coordinateTransformations": [{"type": "scale", "scale": [3, 1, 1]}]}
    group.attrs["multiscales"] = [document]
    assert "its level 1 is finer" in open_volume(path).remarks[0]
    group.attrs["multiscales"] = [document, document]
    assert "2 images, of which the first is read" in open_volume(path).remarks[0]


def test_a_level_lies_inside_its_group(tmp_path):
    image(tmp_path / "other")
    path = image(tmp_path / "v", datasets=[{"path": "../other/0"}])
    with pytest.raises(VolumeError, match="lie inside its group"):
        open_volume(path)


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_the_only_image_of_a_container_is_opened_and_several_are_listed(version, tmp_path):
    root = zarr.open_group(str(tmp_path / "a.zarr"), mode="w", zarr_format=2 if version < "0.5" else 3)
    layout = {"bioformats2raw.layout": 3}
    root.attrs.update(layout if version < "0.5" else {"ome": layout})
    root.create_group("OME")
    image(tmp_path / "a.zarr" / "0", version=version)
    volume = open_volume(tmp_path / "a.zarr")
    np.testing.assert_array_equal(volume.read(volume.spec.box), VOXELS)
    image(tmp_path / "a.zarr" / "1", version=version)
    with pytest.raises(VolumeError, match=r"Name one of: .*a\.zarr/0, .*a\.zarr/1"):
        open_volume(tmp_path / "a.zarr")


def test_a_group_lists_its_arrays(tmp_path):
    group = zarr.open_group(str(tmp_path / "g"), mode="w")
    for name in ("volumes/raw", "volumes/labels/ids"):
        group.create_array(name, shape=VOXELS.shape, dtype="uint8")
    with pytest.raises(VolumeError, match=r"/volumes/labels/ids \(5, 6, 7\), .*/volumes/raw \(5, 6, 7\)"):
        open_volume(tmp_path / "g")


@pytest.mark.parametrize(
    "document", [{}, [], [3], [{}], [{"datasets": []}], [{"datasets": [{"path": 3}]}], "x"], ids=str
)
def test_broken_images_are_no_images(document, tmp_path):
    group = zarr.open_group(str(tmp_path / "g"), mode="w", zarr_format=2)
    group.attrs["multiscales"] = document
    with pytest.raises(VolumeError, match="not an OME-NGFF image"):
        open_volume(tmp_path / "g")
