"""Voxel sizes in the attributes of zarr and N5, with the units and levels that their tools write."""

import json

import numpy as np
import pytest
import tensorstore as ts
import zarr

from petavox.pipeline.errors import VolumeError
from petavox.pipeline.volumes import open_volume

VOXELS = np.random.default_rng(0).integers(1, 255, (4, 6, 8), dtype=np.uint8)
SIZE = (30.0, 6.0, 6.5)
COARSE = (60.0, 12.0, 13.0)
XYZ = list(SIZE[::-1])


def plain(path, array=VOXELS, **attributes):
    made = zarr.create_array(str(path), shape=array.shape, dtype=array.dtype, chunks=(2,) * array.ndim, zarr_format=2)
    made[...] = array
    made.attrs.update(attributes)
    return path


def n5(path, above=(), **attributes):
    """An N5 array with attributes of its own, and of the groups above, the nearest first."""
    metadata = {"dimensions": [8, 6, 4], "blockSize": [4, 3, 2], "dataType": "uint8", "compression": {"type": "gzip"}}
    kvstore = {"driver": "file", "path": f"{path}/"}
    ts.open({"driver": "n5", "kvstore": kvstore, "metadata": metadata}, create=True).result()[...] = VOXELS.T
    (path / "attributes.json").write_text(json.dumps(metadata | attributes))
    for folder, document in zip(path.parents, above, strict=False):
        (folder / "attributes.json").write_text(json.dumps(document))
    return path


STATED = {
    "resolution": {"resolution": SIZE},
    "voxel_size": {"voxel_size": SIZE},
    "plural": {"resolutions": SIZE},
    "camel case": {"voxelSize": SIZE},
    "by axis": {"resolution": dict(zip("zyx", SIZE, strict=True))},
    "one unit, singular": {"resolution": [s / 1000 for s in SIZE], "unit": "um"},
    "one unit, plural": {"resolution": [s / 1000 for s in SIZE], "units": "µm"},
    "a unit each": {"resolution": [0.03, 6, 65], "units": ["um", "nm", "angstrom"]},
    "a unit in the name": {"element_size_um": [s / 1000 for s in SIZE]},
    "a unit of its own": {"resolution": [s / 1000 for s in SIZE], "resolution_unit": "um"},
    "another word, with a unit": {"spacing": SIZE, "unit": "nm"},
    "axes in a list": {"axes": ["z", "y", "x"], "resolution": SIZE},
}


@pytest.mark.parametrize("kind", STATED)
def test_sizes_are_read_in_many_spellings(kind, tmp_path):
    volume = open_volume(plain(tmp_path / "v", **STATED[kind]))
    assert volume.spec.voxel_size == pytest.approx(SIZE)
    np.testing.assert_array_equal(volume.read(volume.spec.box), VOXELS)


def test_one_number_is_the_edge_of_a_cube(tmp_path):
    assert open_volume(plain(tmp_path / "v", voxel_size=8)).spec.voxel_size == (8, 8, 8)


def test_axistags_give_the_axes(tmp_path):
    tags = {"axes": [{"key": key} for key in "xyzc"]}
    volume = open_volume(plain(tmp_path / "v", VOXELS.T[..., None], axistags=tags, resolution=XYZ))
    assert volume.spec.voxel_size == SIZE
    np.testing.assert_array_equal(volume.read(volume.spec.box), VOXELS)


NO_SIZE = [
    {"resolution": [6, 6]}, {"resolution": "high"}, {"resolution": [True, True, True]}, {"resolution": [[30, 6, 6]]},
    {"resolution": [0, 6, 6]}, {"resolution": SIZE, "unit": ""}, {"resolution": SIZE, "units": None},
    {"resolution": SIZE, "units": "pixel"}, {"resolution": SIZE, "units": [1, 2, 3]}, {"spacing": SIZE},
    {"resolution": SIZE, "voxel_size": [40, 4, 4]}, {"pixelResolution": XYZ}, {},
]  # fmt: skip


@pytest.mark.parametrize("attributes", NO_SIZE, ids=str)
def test_a_size_that_is_none_is_asked_for_and_the_user_always_wins(attributes, tmp_path):
    path = plain(tmp_path / "v", **attributes)
    with pytest.raises(VolumeError, match=r"--voxel-size 30,6,6"):
        open_volume(path)
    assert open_volume(path, voxel_size=SIZE).spec.voxel_size == SIZE


def test_the_size_of_a_group_is_that_of_its_array_aloud(tmp_path):
    group = zarr.open_group(str(tmp_path / "g"), mode="w", zarr_format=2)
    group.attrs["resolution"] = SIZE
    volume = open_volume(plain(tmp_path / "g" / "raw"))
    assert volume.spec.voxel_size == SIZE
    assert "that of its group" in volume.remarks[0]


@pytest.mark.parametrize("shape", [(4, 6, 8, 1), (30, 6, 8, 3), (200, 6, 8, 9), (2, 2, 4, 6, 8)])
def test_four_axes_without_names_are_not_guessed_where_the_last_is_rather_the_channels(shape, tmp_path):
    with pytest.raises(VolumeError, match=r"unnamed axes.*--axes"):
        open_volume(plain(tmp_path / "v", np.zeros(shape, np.uint8), resolution=SIZE))


@pytest.mark.parametrize(
    ("size", "words"),
    [((0.03, 0.006, 0.006), "smaller than"), ((30000, 6000, 6000), "too large"), ((6, 6, 30), "finer along z")],
)
def test_an_unlikely_size_is_a_remark(size, words, tmp_path):
    assert words in " ".join(open_volume(plain(tmp_path / "v", resolution=size)).remarks)
    assert open_volume(plain(tmp_path / "w", resolution=(8, 8, 8.01))).remarks == ()


# --- N5 -------------------------------------------------------------------------------------------------------------


OF_N5 = {
    "resolution": {"resolution": XYZ},
    "a unit for all": {"resolution": [s / 1000 for s in XYZ], "units": "um"},
    "a unit each": {"resolution": XYZ, "units": ["nm"] * 3},
    "N5 viewer": {"pixelResolution": {"dimensions": [s / 1000 for s in XYZ], "unit": "µm"}},
    "COSEM": {"transform": {"axes": ["z", "y", "x"], "scale": SIZE, "units": ["nm"] * 3, "translate": [0, 0, 0]}},
    "axes in a text": {"axes": "xyz", "resolution": XYZ},
    "axistags": {"axistags": json.dumps({"axes": [{"key": key} for key in "zyx"]}), "resolution": XYZ},
}


@pytest.mark.parametrize("kind", OF_N5)
def test_n5_is_read_with_x_first(kind, tmp_path):
    volume = open_volume(n5(tmp_path / "a.n5" / "raw", **OF_N5[kind]))
    assert volume.spec.voxel_size == pytest.approx(SIZE)
    np.testing.assert_array_equal(volume.read(volume.spec.box), VOXELS)


def test_a_resolution_that_looks_like_z_y_x_says_how_it_was_read(tmp_path):
    (order, finer) = open_volume(n5(tmp_path / "a.n5" / "raw", resolution=[30, 6, 6])).remarks
    assert "in the order x, y, z" in order
    assert "--voxel-size 30,6,6" in order
    assert "finer along z" in finer
    assert open_volume(n5(tmp_path / "b.n5" / "raw", resolution=[30, 6, 6]), voxel_size=(30, 6, 6)).remarks == ()


FACTORS = [[1, 1, 1], [2, 2, 2]]
NM = {"unit": "nm", "dimensions": XYZ}
LEVELS = {
    "its own factors": ({"pixelResolution": NM, "downsamplingFactors": [2, 2, 2]}, ()),
    "factors of the group": ({}, ({"resolution": XYZ, "units": ["nm"] * 3, "scales": FACTORS},)),
    "factors of the group, in other words": ({}, ({"pixelResolution": NM, "downsamplingFactors": FACTORS},)),
    "factors of the group above": ({}, ({"resolution": XYZ}, {"downsamplingFactors": FACTORS})),
    "COSEM's group": (
        {},
        (
            {
                "multiscales": [
                    {
                        "datasets": [
                            {"path": "s0", "transform": {"axes": ["z", "y", "x"], "scale": SIZE, "units": ["nm"] * 3}},
                            {
                                "path": "s1",
                                "transform": {
                                    "axes": ["z", "y", "x"],
                                    "scale": COARSE,
                                    "translate": [15, 3, 3.25],
                                    "units": ["nm"] * 3,
                                },
                            },
                        ]
                    }
                ]
            },
        ),
    ),
}


@pytest.mark.parametrize("kind", LEVELS)
def test_a_level_is_as_coarse_as_its_factors_and_lies_in_the_middle_of_its_voxels(kind, tmp_path):
    own, above = LEVELS[kind]
    spec = open_volume(n5(tmp_path / "a.n5" / "em" / "raw" / "s1", above, **own)).spec
    assert spec.voxel_size == pytest.approx(COARSE)
    assert spec.translation == pytest.approx((15, 3, 3.25))


@pytest.mark.parametrize("stated", [XYZ, list(COARSE[::-1])], ids=["of the full resolution", "of the level"])
def test_a_resolution_beside_factors_is_that_of_the_full_level_unless_it_differs(stated, tmp_path):
    n5(tmp_path / "a.n5" / "s0", resolution=XYZ)
    path = n5(tmp_path / "a.n5" / "s1", resolution=stated, downsamplingFactors=[2, 2, 2])
    assert open_volume(path).spec.voxel_size == pytest.approx(COARSE)


def test_a_level_whose_factors_nobody_states_asks(tmp_path):
    with pytest.raises(VolumeError, match="nothing the factors of s1"):
        open_volume(n5(tmp_path / "a.n5" / "s1", ({"resolution": XYZ},)))
    assert open_volume(n5(tmp_path / "a.n5" / "s0", ({"resolution": XYZ},))).spec.voxel_size == SIZE


def test_a_codec_that_is_not_read_is_named(tmp_path):
    path = n5(tmp_path / "a.n5" / "raw", resolution=XYZ, compression={"type": "lz4", "blockSize": 65536})
    with pytest.raises(VolumeError, match=r"has lz4.*with the program that made it"):
        open_volume(path)
