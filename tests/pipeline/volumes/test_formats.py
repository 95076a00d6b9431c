"""Every format is found from what is there, and read in Z, Y, X and nanometres. Shapes are anisotropic throughout."""

import functools
import http.server
import json
import threading

import numpy as np
import pytest
import tensorstore as ts
import zarr

from petavox.pipeline.errors import StorageError, VolumeError
from petavox.pipeline.geometry import Box
from petavox.pipeline.volumes import VolumeSpec, create_volume, open_volume

SHAPE, SIZE = (5, 6, 7), (30.0, 6.0, 6.5)
BOX = Box((1, 2, 3), (5, 4, 7))
VOXELS = np.random.default_rng(0).integers(0, 255, SHAPE, dtype=np.uint8)
AFFINITIES = np.random.default_rng(1).integers(0, 255, (3, *SHAPE), dtype=np.uint8)


def n5_array(path, array, **metadata):
    spec = {"driver": "n5", "kvstore": f"file://{path}/", "create": True, "metadata": metadata}
    ts.open(spec, dtype=array.dtype.name, shape=array.shape).result().write(array).result()
    return path


def precomputed_array(path, array):
    scale = {"resolution": SIZE[::-1], "encoding": "raw", "chunk_size": [4, 3, 2], "voxel_offset": [70, 60, 50]}
    spec = {
        "driver": "neuroglancer_precomputed",
        "kvstore": f"file://{path}/",
        "create": True,
        "multiscale_metadata": {"type": "image", "data_type": "uint8", "num_channels": array.shape[3]},
        "scale_metadata": scale | {"size": array.shape[:3]},
    }
    ts.open(spec).result().write(array).result()
    return path


def zarr_array(path, array, zarr_format, attributes=None, chunks=(2, 3, 4), **options):
    chunks = (1,) * (array.ndim - 3) + chunks
    made = zarr.create_array(
        str(path), shape=array.shape, dtype=array.dtype, chunks=chunks, zarr_format=zarr_format, **options
    )
    made[:] = array
    made.attrs.update(attributes or {})
    return path


def ome_image(path, array, version, axes, transforms, units="nanometer", group_transforms=()):
    """An OME-NGFF image of one level, written with zarr-python."""
    zarr_format = 3 if version == "0.5" else 2
    group = zarr.create_group(str(path), zarr_format=zarr_format)
    named = {"dimension_names": list(axes)} if zarr_format == 3 else {}
    made = group.create_array("full", shape=array.shape, dtype=array.dtype, chunks=array.shape, **named)
    made[:] = array
    kinds = {"c": {"type": "channel"}, "t": {"type": "time"}}
    described = [{"name": a, **kinds.get(a, {"type": "space", **({"unit": units} if units else {})})} for a in axes]
    image = {"axes": described, "datasets": [{"path": "full", "coordinateTransformations": transforms}]}
    if group_transforms:
        image["coordinateTransformations"] = group_transforms
    ome = {"version": version, "multiscales": [image | {"version": version}]}
    group.attrs.update({"ome": ome} if version == "0.5" else ome)
    return path


def scaled(*scale):
    return [{"type": "scale", "scale": list(scale)}]


WRITERS = {
    "zarr v2": lambda p: zarr_array(p, VOXELS, 2, {"resolution": list(SIZE)}),
    "zarr v3": lambda p: zarr_array(p, VOXELS, 3, {"voxel_size": list(SIZE)}, dimension_names=("z", "y", "x")),
    "zarr v3, sharded": lambda p: zarr_array(p, VOXELS, 3, {"voxel_size": list(SIZE)}, shards=(4, 6, 8)),
    "zarr v3, x first": lambda p: zarr_array(
        p, VOXELS.T, 3, {"voxel_size": list(SIZE[::-1])}, chunks=(4, 3, 2), dimension_names=("x", "y", "z")
    ),
    "n5": lambda p: n5_array(p, VOXELS.T, blockSize=[4, 3, 2], resolution=list(SIZE[::-1]), units=["nm"] * 3
    ),
    "precomputed": lambda p: precomputed_array(p, VOXELS.T[..., None]),
    "OME-NGFF 0.4": lambda p: ome_image(p, VOXELS, "0.4", "zyx", scaled(*SIZE)),
    "OME-NGFF 0.4, micrometres": lambda p: ome_image(
        p, VOXELS, "0.4", "zyx", scaled(*[s / 1000 for s in SIZE]), units="micrometer"
    ),
    "OME-NGFF 0.5": lambda p: ome_image(p, VOXELS, "0.5", "zyx", scaled(*SIZE)),
    "OME-NGFF 0.5, empty axes": lambda p: ome_image(p, VOXELS[None, None], "0.5", "tczyx", scaled(1, 1, *SIZE)),
    "OME-NGFF 0.4, scaled twice": lambda p: ome_image(
        p, VOXELS, "0.4", "zyx", scaled(15, 3, 3.25), group_transforms=scaled(2, 2, 2)
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", WRITERS)
def test_every_format_reads_alike(kind, tmp_path):
    volume = open_volume(WRITERS[kind](tmp_path / "name says nothing"))
    assert volume.spec.shape == SHAPE
    assert volume.spec.dtype == "uint8"
    assert volume.spec.channels is None
    assert volume.spec.voxel_size == pytest.approx(SIZE)
    np.testing.assert_array_equal(volume.read(BOX), VOXELS[BOX.slices()])


@pytest.mark.parametrize("kind", ["zarr v2", "zarr v3", "zarr v3, sharded", "zarr v3, x first", "n5", "precomputed"])
def test_chunks_are_those_of_the_storage(kind, tmp_path):
    spec = open_volume(WRITERS[kind](tmp_path / "v")).spec
    assert spec.chunk == (2, 3, 4)
    assert spec.write_unit == ((4, 6, 8) if "sharded" in kind else (2, 3, 4))


def test_the_translation_comes_with_the_volume(tmp_path):
    precomputed = open_volume(WRITERS["precomputed"](tmp_path / "p"))
    assert precomputed.spec.translation == pytest.approx((50 * 30, 60 * 6, 70 * 6.5))
    moved = [*scaled(*SIZE), {"type": "translation", "translation": [1.0, 2.0, 3.0]}]
    twice = scaled(2, 2, 2)
    image = open_volume(ome_image(tmp_path / "o", VOXELS, "0.4", "zyx", moved, "micrometer", twice))
    assert image.spec.translation == pytest.approx((2e3, 4e3, 6e3))
    assert image.spec.voxel_size == pytest.approx([2e3 * s for s in SIZE])
    funlib = open_volume(zarr_array(tmp_path / "f", VOXELS, 2, {"resolution": list(SIZE), "offset": [300, 60, 65]}))
    assert funlib.spec.translation == (300, 60, 65)


def test_a_level_opened_by_its_own_path_knows_its_group(tmp_path):
    path = WRITERS["OME-NGFF 0.4, micrometres"](tmp_path / "v.zarr")
    assert open_volume(path / "full").spec == open_volume(path).spec


def test_n5_written_by_other_tools_says_its_voxel_size_in_other_ways(tmp_path):
    for name, attributes in {
        "viewer": {"pixelResolution": {"dimensions": [0.0065, 0.006, 0.03], "unit": "um"}},
        "cosem": {"transform": {"axes": ["z", "y", "x"], "scale": list(SIZE), "units": ["nm"] * 3}},
        "paintera": {"resolution": list(SIZE[::-1])},
    }.items():
        path = n5_array(tmp_path / name, VOXELS.T, blockSize=[4, 3, 2])
        document = path / "attributes.json"
        document.write_text(json.dumps(json.loads(document.read_text()) | attributes))
        assert open_volume(path).spec.voxel_size == pytest.approx(SIZE)


def test_an_n5_container_opens_at_s0(tmp_path):
    WRITERS["n5"](tmp_path / "data.n5" / "raw" / "s0")
    (tmp_path / "data.n5" / "raw" / "attributes.json").write_text('{"n5": "2.0.0"}')
    np.testing.assert_array_equal(open_volume(tmp_path / "data.n5" / "raw").read(BOX), VOXELS[BOX.slices()])


def test_channels_come_first_and_can_be_chosen(tmp_path):
    path = precomputed_array(tmp_path / "a", AFFINITIES.T)
    volume = open_volume(path, offsets=[(1, 0, 0), (0, 1, 0), (0, 0, 1)])
    assert volume.spec.channels == 3
    np.testing.assert_array_equal(volume.read(BOX), AFFINITIES[(..., *BOX.slices())])
    np.testing.assert_array_equal(volume.read(BOX, slice(1, 3)), AFFINITIES[(slice(1, 3), *BOX.slices())])


@pytest.mark.parametrize("key", ["offsets", "neighborhood", "offset"])
def test_offsets_of_other_tools_change_sign(key, tmp_path):
    theirs = [[-1, 0, 0], [0, -1, 0], [0, 0, -9]]
    path = zarr_array(tmp_path / "a", AFFINITIES, 2, {"resolution": list(SIZE), key: theirs})
    assert open_volume(path).spec.offsets == ((1, 0, 0), (0, 1, 0), (0, 0, 9))


def test_offsets_of_ours_do_not(tmp_path):
    attributes = {"resolution": list(SIZE), "petavox": {"offsets": [[1, 0, 0], [0, 1, 0], [0, 0, 9]]}}
    assert open_volume(zarr_array(tmp_path / "a", AFFINITIES, 3, attributes)).spec.offsets[2] == (0, 0, 9)


def test_what_metadata_lacks_can_be_given(tmp_path):
    path = zarr_array(tmp_path / "v", VOXELS.T, 2)
    with pytest.raises(VolumeError, match=r"voxel size.*--voxel-size"):
        open_volume(path)
    volume = open_volume(path, voxel_size=SIZE, axes="xyz")
    assert volume.spec.voxel_size == SIZE
    np.testing.assert_array_equal(volume.read(BOX), VOXELS[BOX.slices()])


def test_a_scale_without_a_unit_is_no_voxel_size(tmp_path):
    with pytest.raises(VolumeError, match="not its unit"):
        open_volume(ome_image(tmp_path / "v", VOXELS, "0.4", "zyx", scaled(*SIZE), units=None))


def test_an_unknown_unit_is_refused_by_name(tmp_path):
    with pytest.raises(VolumeError, match="'furlong'"):
        open_volume(ome_image(tmp_path / "v", VOXELS, "0.4", "zyx", scaled(*SIZE), units="furlong"))


@pytest.mark.parametrize(
    ("axes", "shape", "named"),
    [
        ("yx", (6, 7), "y, x"),
        ("tzyx", (2, 5, 6, 7), "t, z, y, x"),
        ("tczyx", (1, 2, 5, 6, 7), None),
        ("zyq", SHAPE, "z, y, q"),
    ],
)
def test_wrong_axes_are_named_beside_the_wanted_ones(axes, shape, named, tmp_path):
    path = ome_image(tmp_path / "v", np.zeros(shape, np.uint8), "0.5", axes, scaled(*[1] * len(shape)))
    if named is None:
        assert open_volume(path).spec.channels == 2
        return
    with pytest.raises(VolumeError, match=f"axes z, y, x or c, z, y, x.*has the axes {named} "):
        open_volume(path)


def test_unnamed_axes_of_the_wrong_number_are_refused(tmp_path):
    path = tmp_path / "v"
    zarr.create_array(str(path), shape=(6, 7), dtype="uint8", zarr_format=2).attrs["resolution"] = list(SIZE)
    with pytest.raises(VolumeError, match="2 unnamed axes"):
        open_volume(path)


def test_a_type_that_is_no_voxel_is_refused(tmp_path):
    path = zarr_array(tmp_path / "v", VOXELS.astype("complex64"), 2, {"resolution": list(SIZE)})
    with pytest.raises(VolumeError, match="complex64"):
        open_volume(path)


def test_a_missing_volume_is_told_from_its_neighbours(tmp_path):
    WRITERS["zarr v3"](tmp_path / "affinities.zarr")
    with pytest.raises(VolumeError, match=r"nothing is there.*affinities\.zarr"):
        open_volume(tmp_path / "afinities.zarr")
    with pytest.raises(VolumeError, match=r"No volume in the folder.*Name one of: .*affinities\.zarr \(5, 6, 7\)"):
        open_volume(tmp_path)
    with pytest.raises(VolumeError, match="does not exist either"):
        open_volume(tmp_path / "nowhere" / "v.zarr")


def test_a_file_is_sent_to_convert(tmp_path):
    (tmp_path / "em.tif").write_bytes(b"II")
    with pytest.raises(VolumeError, match="petavox convert"):
        open_volume(tmp_path / "em.tif")


def test_a_group_without_an_image_is_refused(tmp_path):
    zarr.create_group(str(tmp_path / "g")).create_array("raw", shape=SHAPE, dtype="uint8")
    with pytest.raises(VolumeError, match="is a group"):
        open_volume(tmp_path / "g")


@pytest.mark.parametrize("text", ["{", "[]", '{"node_type": "array", "zarr_format": 3}'])
def test_broken_metadata_is_refused(text, tmp_path):
    (tmp_path / "zarr.json").write_text(text)
    with pytest.raises(VolumeError, match=str(tmp_path)):
        open_volume(tmp_path)


def test_a_scale_that_does_not_fit_the_array_is_none(tmp_path):
    path = ome_image(tmp_path / "v", VOXELS, "0.5", "zyx", scaled(1, 2))
    with pytest.raises(VolumeError, match="'scale' is none that scales and shifts 3 axes"):
        open_volume(path)
    assert open_volume(path, voxel_size=SIZE).spec.voxel_size == SIZE


def test_neither_the_name_nor_a_prefix_decides(tmp_path):
    path = WRITERS["precomputed"](tmp_path / "volume.zarr")
    for address in (f"precomputed://file://{path}", f"file://{path}", str(path), path):
        assert open_volume(address).spec.shape == SHAPE
    with pytest.raises(VolumeError, match="ftp://"):
        open_volume("ftp://host/volume.zarr")


@pytest.fixture
def server(tmp_path):
    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    handler = functools.partial(Quiet, directory=str(tmp_path))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_volumes_are_read_from_a_server(server, tmp_path):
    spec = VolumeSpec(SHAPE, "uint8", SIZE, chunk=(2, 3, 4))
    create_volume(tmp_path / "v.zarr", spec).write(spec.box, VOXELS)
    volume = open_volume(f"{server}/v.zarr")
    assert volume.spec == spec
    np.testing.assert_array_equal(volume.read(BOX), VOXELS[BOX.slices()])
    assert volume.identity() == open_volume(f"{server}/v.zarr").identity()
    with pytest.raises(VolumeError, match="Check the address"):
        open_volume(f"{server}/w.zarr")
    with pytest.raises(StorageError):
        create_volume(f"{server}/w.zarr", spec)
