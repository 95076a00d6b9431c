"""An array of an HDF5 file is found behind any link, with the axes and sizes that tools write; or it is refused."""

import fcntl
import json

import h5py
import numpy as np
import pytest
from fakes.foreign import GREY, SIZE, converted

from petavox.pipeline.errors import VolumeError

BLOSC = 32001


def file_of(path, arrays=None, attributes=None, **options):
    """An HDF5 file of some arrays, each with attributes."""
    with h5py.File(path, "w", **options) as file:
        for name, array in (arrays or {"raw": GREY}).items():
            file.create_dataset(name, data=array).attrs.update(attributes or {})
    return path


def tags(axes):
    return json.dumps({"axes": [{"key": axis, "typeFlags": 2} for axis in axes]})


# --- which array ----------------------------------------------------------------------------------------------------


def test_arrays_behind_links_are_found_by_name_and_by_themselves(tmp_path):
    with h5py.File(file_of(tmp_path / "data.h5", {"a/raw": GREY}), "a") as file:
        file["latest"], file["dead"], file["round"] = (h5py.SoftLink(to) for to in ("/a/raw", "/nowhere", "/"))
        file["gone"] = h5py.ExternalLink("gone.h5", "/x")
    with h5py.File(tmp_path / "link.h5", "w") as file:
        file["em"] = h5py.ExternalLink("data.h5", "/a/raw")
    for name, dataset in (("data.h5", "latest"), ("data.h5", "/a/raw"), ("data.h5", "round/a/raw"), ("link.h5", "em")):
        np.testing.assert_array_equal(converted(tmp_path / name, tmp_path, dataset=dataset).voxels, GREY)
        np.testing.assert_array_equal(
            converted(tmp_path / name, tmp_path).voxels, GREY
        )  # one array, however often linked
    for dataset, words in (("dead", "a link to /nowhere"), ("gone", "/x in gone.h5"), ("x", "It has: a/raw .*latest")):
        with pytest.raises(VolumeError, match=words):
            converted(tmp_path / "data.h5", tmp_path, dataset=dataset)


def test_a_group_stands_for_its_only_array(tmp_path):
    path = file_of(tmp_path / "em.h5", {"a/raw": GREY, "b/raw": GREY, "b/labels": GREY})
    np.testing.assert_array_equal(converted(path, tmp_path, dataset="a").voxels, GREY)
    with pytest.raises(VolumeError, match=r"--dataset NAME.*b/labels.*b/raw"):
        converted(path, tmp_path, dataset="b")


@pytest.mark.parametrize("size", [512, 1024, 4096])
def test_a_user_block_may_lie_before_the_data(size, tmp_path):
    path = file_of(tmp_path / "em.h5", userblock_size=size)
    with path.open("r+b") as file:
        file.write(b"anything")
    np.testing.assert_array_equal(converted(path, tmp_path).voxels, GREY)


def test_virtual_and_external_data_is_read_where_it_is_and_missed_where_it_is_not(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    file_of(tmp_path / "a.h5")
    (tmp_path / "raw.bin").write_bytes(GREY.tobytes())
    with h5py.File(tmp_path / "virtual.h5", "w") as file:
        layout = h5py.VirtualLayout(GREY.shape, "u1")
        layout[...] = h5py.VirtualSource("a.h5", "raw", GREY.shape)
        file.create_virtual_dataset("v", layout)
    with h5py.File(tmp_path / "external.h5", "w") as file:
        file.create_dataset("x", GREY.shape, "u1", external=[("raw.bin", 0, h5py.h5f.UNLIMITED)])
    for name, needed in (("virtual.h5", "a.h5"), ("external.h5", "raw.bin")):
        np.testing.assert_array_equal(converted(tmp_path / name, tmp_path).voxels, GREY)
        (tmp_path / needed).unlink()
        with pytest.raises(VolumeError, match=f"in other files, which are not there: {needed}"):
            converted(tmp_path / name, tmp_path)


# --- axes and sizes -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("axes", ["zyxc", "xyz", "tzyxc", "czyx", "yxz"])
def test_ilastik_says_its_axes_in_tags(axes, tmp_path):
    array = GREY.reshape([*[1] * (len(axes) - 3), *GREY.shape])
    rest = [a for a in axes if a not in "zyx"]
    array = array.transpose([[*rest, *"zyx"].index(a) for a in axes])
    path = file_of(tmp_path / "em.h5", {"exported_data": array}, {"axistags": tags(axes)})
    np.testing.assert_array_equal(converted(path, tmp_path).voxels, GREY)


def test_dimensions_may_be_labelled(tmp_path):
    path = file_of(tmp_path / "em.h5", {"raw": GREY.T})
    with h5py.File(path, "a") as file:
        for axis, name in enumerate("xyz"):
            file["raw"].dims[axis].label = name
    np.testing.assert_array_equal(converted(path, tmp_path).voxels, GREY)


@pytest.mark.parametrize(
    ("array", "example"), [(GREY[..., None], "zyxc"), (np.stack([GREY] * 3, -1), "zyxc"), (GREY[None, None], "tczyx")]
)
def test_axes_that_nobody_can_guess_are_asked_for(array, example, tmp_path):
    path = file_of(tmp_path / "em.h5", {"raw": array})
    with pytest.raises(VolumeError, match=f"unnamed axes.*--axes {example}"):
        converted(path, tmp_path)
    assert converted(path, tmp_path, axes=example, channel=0).voxels.shape == GREY.shape


def test_matlab_stores_axes_in_reverse(tmp_path):
    path = file_of(tmp_path / "em.mat", {"img": GREY.transpose(0, 2, 1)}, {"MATLAB_class": np.bytes_("uint8")})
    with pytest.raises(VolumeError, match=r"MATLAB stores axes in reverse.*--axes zxy"):
        converted(path, tmp_path)
    np.testing.assert_array_equal(converted(path, tmp_path, axes="zxy").voxels, GREY)


STATED = {
    "a scalar": ({"element_size_um": 0.008}, (8, 8, 8)),
    "element_size_um": ({"element_size_um": [0.03, 0.006, 0.006]}, SIZE),
    "a unit for all": ({"resolution": [0.03, 0.006, 0.006], "unit": "um"}, SIZE),
    "a unit in bytes": ({"resolution": [0.03, 0.006, 0.006], "units": np.bytes_("µm".encode())}, SIZE),
    "a unit each": ({"voxel_size": [0.03, 6, 6], "units": ["um", "nm", "nm"]}, SIZE),
    "a unit in the name": ({"voxel_size_nm": [30, 6, 6]}, SIZE),
}


@pytest.mark.parametrize("kind", STATED)
def test_sizes_are_read_in_many_spellings(kind, tmp_path):
    attributes, size = STATED[kind]
    path = file_of(tmp_path / "em.h5", attributes=attributes)
    assert converted(path, tmp_path, voxel_size=None).spec.voxel_size == pytest.approx(size)


@pytest.mark.parametrize(
    "attributes",
    [{"element_size_um": [0.006, 0.006]}, {"element_size_um": [0.0, 0.0, 0.0]}, {"resolution": "30,6,6"}, {}],
    ids=str,
)
def test_a_size_that_is_none_is_asked_for_and_the_user_always_wins(attributes, tmp_path):
    path = file_of(tmp_path / "em.h5", attributes=attributes)
    with pytest.raises(VolumeError, match="--voxel-size 30,6,6"):
        converted(path, tmp_path, voxel_size=None)
    assert converted(path, tmp_path).spec.voxel_size == SIZE


# --- said, and refused ----------------------------------------------------------------------------------------------


def test_parts_that_were_never_written_are_mentioned(tmp_path):
    with h5py.File(tmp_path / "em.h5", "w") as file:
        file.create_dataset("never", GREY.shape, "u1", chunks=(4, 8, 8))
        file.create_dataset("partly", GREY.shape, "u1", chunks=(4, 8, 8))[:4] = GREY[:4]
    never, partly = (converted(tmp_path / "em.h5", tmp_path, dataset=name).said for name in ("never", "partly"))
    assert "Nothing was ever written" in never
    assert "all voxels have the value 0" in never
    assert "12 of its 24 chunks were never written" in partly


def unknown_filter(path):
    with h5py.File(path, "w") as file:
        properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        properties.set_chunk((4, 8, 8))
        properties.set_filter(BLOSC, h5py.h5z.FLAG_OPTIONAL, (0, 0, 0, 0))
        space = h5py.h5s.create_simple(GREY.shape)
        h5py.h5d.create(file.id, b"raw", h5py.h5t.NATIVE_UINT8, space, properties)
    return path


REFUSED = {
    "a filter that is not installed": (unknown_filter, r"filter 32001 \(Blosc\).*hdf5plugin.*h5repack"),
    "strings": (lambda p: file_of(p, {"s": np.full((2, 3, 4), b"x")}), "holds bytes8"),
    "records": (lambda p: file_of(p, {"s": np.zeros((2, 3, 4), [("a", "u1")])}), "holds void8"),
    "no data space": (lambda p: file_of(p, {"s": h5py.Empty("f4")}), "no dataset of three axes"),
    "an image": (lambda p: file_of(p, {"s": GREY[0]}), "no dataset of three axes"),
    "half a file": (lambda p: p.write_bytes(file_of(p).read_bytes()[:2000]) and p, "truncated.*Copy"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_cannot_be_read_is_refused_with_a_way_on(kind, tmp_path):
    make, words = REFUSED[kind]
    with pytest.raises(VolumeError, match=words):
        converted(make(tmp_path / "em.h5"), tmp_path)


def test_a_locked_file_says_how_to_open_it(tmp_path):
    path = file_of(tmp_path / "em.h5")
    with path.open("r+b") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(VolumeError, match=r"locked.*Close the other program.*HDF5_USE_FILE_LOCKING=FALSE"):
            converted(path, tmp_path)
    np.testing.assert_array_equal(converted(path, tmp_path).voxels, GREY)
