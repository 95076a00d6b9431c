"""What is written is read back, whole shards at a time, and a storage that fails says so."""

import errno
import hashlib
import os
import re
import shutil
import subprocess
import sys

import numpy as np
import ome_zarr.io
import ome_zarr.reader
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st

from petavox.pipeline.errors import StorageError, VolumeError
from petavox.pipeline.geometry import BlockGrid, Box
from petavox.pipeline.locations import storage_error
from petavox.pipeline.volumes import VolumeSpec, check_same_frame, create_volume, default_chunks, open_volume

OFFSETS = ((1, 0, 0), (0, 1, 0), (0, 0, 9))
SHARDED = VolumeSpec((20, 30, 25), "uint64", (30, 6, 6.5), (10, 20, 30), chunk=(4, 8, 8), shard=(8, 16, 16))
PLAIN = VolumeSpec((20, 30, 25), "uint8", (30, 6, 6.5), chunk=(8, 16, 16))
CHANNELS = VolumeSpec(
    (20, 30, 25), "uint8", (30, 6, 6), channels=3, offsets=OFFSETS, chunk=(4, 8, 8), shard=(8, 16, 16)
)


def voxels(spec, seed=0):
    return np.random.default_rng(seed).integers(1, 200, spec.array_shape).astype(spec.dtype)


def files(path):
    """Name and content hash of every file of a volume."""
    found = sorted(p for p in path.rglob("*") if p.is_file())
    return {str(p.relative_to(path)): hashlib.sha256(p.read_bytes()).hexdigest() for p in found}


def fill(volume, array, block):
    grid = BlockGrid(volume.spec.shape, block)
    for index in grid.indices():
        box = grid.box(index)
        volume.write(box, array[(..., *box.slices())])


extents = st.tuples(*[st.integers(8, 30)] * 3)


@settings(max_examples=15)
@given(
    shape=extents,
    block=extents,
    dtype=st.sampled_from(["bool", "uint8", "uint64", "int16", "float32"]),
    channels=st.sampled_from([None, 1, 3]),
    seed=st.integers(0, 2**32),
)
def test_what_blocks_write_is_what_any_box_reads(tmp_path_factory, shape, block, dtype, channels, seed):
    chunk, shard = default_chunks(block, shape)
    offsets = None if channels is None else OFFSETS[:channels]
    spec = VolumeSpec(shape, dtype, (30, 6, 6), channels=channels, offsets=offsets, chunk=chunk, shard=shard)
    path = tmp_path_factory.mktemp("volumes") / "v.zarr"
    array = voxels(spec, seed)
    fill(create_volume(path, spec), array, block)
    volume = open_volume(path)
    assert volume.spec == spec
    corners = np.sort(np.random.default_rng(seed).integers(0, np.array(shape) + 1, (2, 3)), axis=0)
    box = Box(tuple(corners[0].tolist()), tuple(corners[1].tolist()))
    found = volume.read(box)
    assert found.dtype == array.dtype
    np.testing.assert_array_equal(found, array[(..., *box.slices())])


@pytest.mark.parametrize("spec", [SHARDED, PLAIN, CHANNELS], ids=["sharded", "plain", "channels"])
def test_zarr_python_and_ome_zarr_read_what_we_write(spec, tmp_path):
    array = voxels(spec)
    fill(create_volume(tmp_path / "v.zarr", spec), array, spec.write_unit)
    group = zarr.open_group(str(tmp_path / "v.zarr"), mode="r")
    np.testing.assert_array_equal(group["0"][:], array)
    axes = ["c", "z", "y", "x"] if spec.channels else ["z", "y", "x"]
    assert list(group["0"].metadata.dimension_names) == axes
    (node,) = ome_zarr.reader.Reader(ome_zarr.io.parse_url(str(tmp_path / "v.zarr")))()
    np.testing.assert_array_equal(np.asarray(node.data[0]), array)
    assert [a["name"] for a in node.metadata["axes"]] == axes
    assert {a.get("unit") for a in node.metadata["axes"] if a["type"] == "space"} == {"nanometer"}
    scale, translation = node.metadata["coordinateTransformations"][0]
    assert tuple(scale["scale"][-3:]) == spec.voxel_size
    assert tuple(translation["translation"][-3:]) == spec.translation


def test_nothing_written_reads_as_the_fill_value(tmp_path):
    spec = VolumeSpec((20, 30, 25), "uint8", (30, 6, 6), chunk=(8, 8, 8), fill_value=7)
    volume = create_volume(tmp_path / "v.zarr", spec)
    volume.write(Box((8, 8, 8), (16, 16, 16)), np.full((8, 8, 8), 9, np.uint8))
    expected = np.full(spec.shape, 7)
    expected[8:16, 8:16, 8:16] = 9
    np.testing.assert_array_equal(open_volume(tmp_path / "v.zarr").read(spec.box), expected)


def test_volumes_in_one_frame_pass_and_others_are_named(tmp_path):
    def volume(name, **changes):
        return create_volume(
            tmp_path / name, VolumeSpec(**({"shape": (4, 5, 6), "dtype": "uint8", "voxel_size": (30, 6, 6)} | changes))
        )

    a = volume("a.zarr")
    check_same_frame(a, volume("labels.zarr", dtype="uint64", voxel_size=(30.02, 6, 6), translation=(0.02, 0, 0)))
    for name, changes, words in (
        ("shape.zarr", {"shape": (4, 5, 7)}, "shape.*(4, 5, 6).*(4, 5, 7)"),
        ("size.zarr", {"voxel_size": (30, 6, 7)}, "voxel size.*6.0.*7.0"),
        ("place.zarr", {"translation": (0, 0, 2)}, "position.*0.0.*2.0"),
    ):
        with pytest.raises(VolumeError, match=words.replace("(", r"\(").replace(")", r"\)")) as error:
            check_same_frame(a, volume(name, **changes))
        assert "a.zarr" in str(error.value)
        assert name in str(error.value)


# --- refused requests ------------------------------------------------------------------------------------------------


def test_reading_outside_is_refused(tmp_path):
    volume = create_volume(tmp_path / "v.zarr", PLAIN)
    with pytest.raises(VolumeError, match=r"\[-1:8.*0:20"):
        volume.read(Box((-1, 0, 0), (8, 8, 8)))
    with pytest.raises(VolumeError, match="no channel axis"):
        volume.read(PLAIN.box, slice(0, 1))


@pytest.mark.parametrize("spec", [PLAIN, SHARDED, CHANNELS], ids=["chunks", "shards", "channels"])
def test_a_write_that_cuts_a_unit_is_refused(spec, tmp_path):
    volume = create_volume(tmp_path / "v.zarr", spec)
    before = files(tmp_path)
    for box in (
        Box((0, 0, 0), (8, 16, 8 if spec.shard else 4)),
        Box((0, 0, 4), (8, 16, 25)),
        Box((8, 0, 0), (32, 16, 16)),
    ):
        shape = box.shape if spec.channels is None else (3, *box.shape)
        with pytest.raises(VolumeError, match="whole units"):
            volume.write(box, np.ones(shape, spec.dtype))
    assert files(tmp_path) == before


def test_arrays_of_another_shape_or_type_are_refused(tmp_path):
    volume = create_volume(tmp_path / "v.zarr", PLAIN)
    box = Box((0, 0, 0), (8, 16, 16))
    for array in (np.ones((8, 16, 7), np.uint8), np.ones((8, 16, 16), np.uint16), np.ones((1, 8, 16, 16), np.uint8)):
        with pytest.raises(VolumeError, match="uint8 array of shape"):
            volume.write(box, array)


def test_a_volume_opened_for_reading_is_not_written(tmp_path):
    create_volume(tmp_path / "v.zarr", PLAIN)
    with pytest.raises(VolumeError, match="writable=True"):
        open_volume(tmp_path / "v.zarr").write(PLAIN.box, voxels(PLAIN))


# --- making volumes --------------------------------------------------------------------------------------------------


def test_making_the_same_volume_again_keeps_its_voxels(tmp_path):
    create_volume(tmp_path / "v.zarr", SHARDED).write(SHARDED.box, voxels(SHARDED))
    before = files(tmp_path)
    again = create_volume(tmp_path / "v.zarr", SHARDED)
    np.testing.assert_array_equal(again.read(SHARDED.box), voxels(SHARDED))
    assert files(tmp_path) == before


def test_another_volume_is_not_overwritten(tmp_path):
    create_volume(tmp_path / "v.zarr", SHARDED)
    before = files(tmp_path)
    with pytest.raises(VolumeError, match=r"another volume.*dtype uint64 / uint8"):
        create_volume(tmp_path / "v.zarr", PLAIN)
    assert files(tmp_path) == before


def test_a_folder_of_something_else_is_not_overwritten(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(VolumeError, match="is not a volume"):
        create_volume(tmp_path, PLAIN)
    assert files(tmp_path).keys() == {"notes.txt"}


def test_a_volume_whose_making_was_interrupted_is_made_again(tmp_path):
    create_volume(tmp_path / "v.zarr", SHARDED)
    (tmp_path / "v.zarr" / "zarr.json").unlink()
    with pytest.raises(VolumeError, match="No volume"):
        open_volume(tmp_path / "v.zarr")
    assert create_volume(tmp_path / "v.zarr", SHARDED).spec == SHARDED


# --- repeating, breaking, changing -----------------------------------------------------------------------------------


@pytest.mark.parametrize("spec", [SHARDED, PLAIN, CHANNELS], ids=["sharded", "plain", "channels"])
def test_writing_twice_leaves_the_same_bytes(spec, tmp_path):
    for name, order in (("a", 1), ("b", -1)):
        volume = create_volume(tmp_path / f"{name}" / "v.zarr", spec)
        grid = BlockGrid(spec.shape, spec.write_unit)
        for index in [*grid.indices()][::order]:
            box = grid.box(index)
            volume.write(box, voxels(spec, 1)[(..., *box.slices())])  # a first attempt, of other voxels
            volume.write(box, voxels(spec)[(..., *box.slices())])
    assert files(tmp_path / "a") == files(tmp_path / "b")


@pytest.mark.parametrize("level", [1, 3, 19])
@pytest.mark.parametrize("spec", [SHARDED, PLAIN], ids=["sharded", "plain"])
def test_a_volume_compressed_otherwise_is_read_and_written_on(spec, level, tmp_path):
    volume, half = create_volume(tmp_path / "v.zarr", spec), Box((0, 0, 0), (8, 30, 25))
    document = tmp_path / "v.zarr" / "0" / "zarr.json"
    before = document.read_text()
    document.write_text(re.sub(r'"level": *\d+', f'"level": {level}', before))
    volume = create_volume(tmp_path / "v.zarr", spec)  # the same volume: how it is compressed is its own affair
    volume.write(half, voxels(spec)[half.slices()])
    np.testing.assert_array_equal(open_volume(tmp_path / "v.zarr").read(half), voxels(spec)[half.slices()])
    assert f'"level": {level}' in re.sub(r'"level": *', '"level": ', document.read_text())


def test_a_shard_is_one_file_and_a_writer_killed_before_leaves_no_trace(tmp_path):
    volume = create_volume(tmp_path / "v.zarr", SHARDED)
    folder = tmp_path / "v.zarr" / "0" / "c" / "0" / "0"
    folder.mkdir(parents=True)
    (folder / "0.__lock").write_bytes(b"half a shard")  # what a killed writer leaves: the rename never came
    assert not open_volume(tmp_path / "v.zarr").read(SHARDED.box).any()
    box = Box((0, 0, 0), (8, 16, 16))
    volume.write(box, voxels(SHARDED)[box.slices()])
    assert [p.name for p in folder.iterdir()] == ["0"]
    np.testing.assert_array_equal(volume.read(box), voxels(SHARDED)[box.slices()])


@pytest.mark.parametrize("spec", [SHARDED, PLAIN], ids=["sharded", "plain"])
@pytest.mark.parametrize("damage", ["flipped", "cut", "empty"])
def test_a_damaged_chunk_is_an_error_that_names_the_place(spec, damage, tmp_path):
    volume = create_volume(tmp_path / "v.zarr", spec)
    volume.write(spec.box, voxels(spec))
    chunk = tmp_path / "v.zarr" / "0" / "c" / "1" / "0" / "1"
    content = bytearray(chunk.read_bytes())
    content[20] ^= 0xFF
    chunk.write_bytes({"flipped": content, "cut": content[:-10], "empty": b""}[damage])
    with pytest.raises(StorageError, match=r"0:20.*v\.zarr.*damaged") as error:
        open_volume(tmp_path / "v.zarr").read(spec.box)
    assert str(chunk) in str(error.value)


def test_a_full_disk_is_an_error_with_a_cure(tmp_path):
    script = f"""
import numpy as np
from petavox.pipeline.errors import StorageError
from petavox.pipeline.volumes import VolumeSpec, create_volume
spec = VolumeSpec((64, 128, 128), "uint64", (1, 1, 1), chunk=(32, 64, 64), shard=(64, 128, 128))
volume = create_volume("{tmp_path}/small/v.zarr", spec)
try:
    volume.write(spec.box, np.random.default_rng(0).integers(0, 2**63, spec.shape).astype("uint64"))
except StorageError as error:
    print(error)
print("written:", volume.read(spec.box).any())
"""
    mount = f"mkdir {tmp_path}/small && mount -t tmpfs -o size=1m tmpfs {tmp_path}/small"
    if not shutil.which("unshare") or subprocess.run(["unshare", "-rm", "sh", "-c", mount], check=False).returncode:
        pytest.skip("this system lets no test mount a small file system")
    command = f"mount -t tmpfs -o size=1m tmpfs {tmp_path}/small && exec '{sys.executable}' -P -c '{script}'"
    done = subprocess.run(["unshare", "-rm", "sh", "-c", command], capture_output=True, text=True, check=True)
    assert "Could not write [0:64, 0:128, 0:128] of" in done.stdout
    assert "Free some space" in done.stdout
    assert "written: False" in done.stdout


@pytest.mark.parametrize(
    ("number", "cure"), [(errno.ENOSPC, "Free some space"), (errno.EACCES, "permissions"), (errno.EROFS, "permissions")]
)
def test_errors_of_the_system_come_with_their_cure(number, cure):
    assert cure in str(storage_error(OSError(number, os.strerror(number)), "write", "a volume"))


def test_identity_changes_when_the_volume_does(tmp_path):
    path = tmp_path / "v.zarr"
    volume = create_volume(path, SHARDED)
    seen = {volume.identity()}
    for seed in (1, 2):
        volume.write(SHARDED.box, voxels(SHARDED, seed))
        assert volume.identity() == open_volume(path).identity()
        seen.add(volume.identity())
    shutil.copytree(path, tmp_path / "copy.zarr")
    seen.add(open_volume(tmp_path / "copy.zarr").identity())
    seen.add(open_volume(path, voxel_size=(1, 1, 1)).identity())
    assert len(seen) == 5


def test_identity_looks_at_a_bounded_number_of_files(tmp_path, monkeypatch):
    monkeypatch.setattr("petavox.pipeline.volumes.volume.IDENTITY_FILES", 3)
    volume = create_volume(tmp_path / "v.zarr", PLAIN)
    volume.write(PLAIN.box, voxels(PLAIN))
    before = volume.identity()
    assert volume.identity() == before
    (tmp_path / "v.zarr" / "0" / "new").touch()
    assert volume.identity() != before
