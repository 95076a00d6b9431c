"""Whatever a laboratory has becomes an OME-Zarr volume, or is refused before anything is written."""

import json
import sys
import types

import h5py
import imagecodecs
import numpy as np
import pytest
import tifffile
import zarr

from petavox.pipeline.errors import RequestError, StorageError, VolumeError
from petavox.pipeline.geometry import Box
from petavox.pipeline.volumes import VolumeSpec, create_volume, open_volume
from petavox.workflows.conversion import convert as module
from petavox.workflows.conversion.convert import convert
from petavox.workflows.conversion.options import SourceOptions

SIZE = (30.0, 6.0, 6.5)
VOXELS = np.random.default_rng(0).integers(0, 255, (13, 20, 30), dtype=np.uint8)
AFFINITIES = np.random.default_rng(1).random((3, 13, 20, 30), dtype=np.float32)


def converted(source, destination, **options):
    """The new volume; options are those of the source and of the conversion, together."""
    of_source = {name: options.pop(name) for name in set(options) & set(SourceOptions.__dataclass_fields__)}
    return convert(source, destination, SourceOptions(**of_source), **options).volume


def tiff(path, array=VOXELS, **options):
    tifffile.imwrite(path, array, **({"photometric": "minisblack", "compression": "zlib", "predictor": True} | options))
    return path


def pages_written_one_by_one(path):
    with tifffile.TiffWriter(path) as writer:
        for page in VOXELS:
            writer.write(page, contiguous=False)
    return path


def sections(folder, encode, suffix, first=8):
    folder.mkdir()
    for number, section in enumerate(VOXELS, start=first):  # section_8, section_9, section_10: not alphabetical
        encode(folder / f"section_{number}{suffix}", section)
    (folder / "notes.txt").write_text("not a section")
    return folder


def png(path, section):
    path.write_bytes(imagecodecs.png_encode(section))


def hdf5(path, arrays, attributes=None):
    with h5py.File(path, "w") as file:
        for name, array in arrays.items():
            made = file.create_dataset(name, data=array, chunks=True, compression="gzip")
            made.attrs.update(attributes or {})
    return path


def volume(path):
    spec = VolumeSpec(VOXELS.shape, "uint8", SIZE, (3, 2, 1), chunk=(4, 8, 8))
    create_volume(path, spec).write(spec.box, VOXELS)
    return path


SOURCES = {
    "TIFF": lambda d: tiff(d / "em.tif"),
    "TIFF, big-endian, BigTIFF": lambda d: tiff(d / "em.tif", byteorder=">", bigtiff=True),
    "TIFF, tiled, LZW": lambda d: tiff(d / "em.tif", compression="lzw", tile=(16, 16)),
    "TIFF, ImageJ, not compressed": lambda d: tiff(
        d / "em.tif", compression=None, predictor=None, imagej=True, metadata={"axes": "ZYX"}
    ),
    "TIFF, pages written one by one": lambda d: pages_written_one_by_one(d / "em.tif"),
    "TIFF whose name says nothing": lambda d: tiff(d / "em.dat"),
    "TIFF folder": lambda d: sections(d / "em", tiff, ".tif"),
    "PNG folder": lambda d: sections(d / "em", png, ".png"),
    "HDF5": lambda d: hdf5(d / "em.h5", {"volumes/raw": VOXELS, "row": VOXELS[0, 0]}),
    "zarr v2": lambda d: zarr.save_array(str(d / "em"), VOXELS, zarr_format=2) or d / "em",
}


@pytest.mark.parametrize("kind", SOURCES)
def test_every_source_becomes_the_same_volume(kind, tmp_path):
    made = converted(SOURCES[kind](tmp_path), tmp_path / "out.zarr", voxel_size=SIZE)
    assert made.spec.voxel_size == SIZE
    assert made.spec.dtype == "uint8"
    assert made.spec.channels is None
    np.testing.assert_array_equal(made.read(made.spec.box), VOXELS)
    assert zarr.open_group(str(tmp_path / "out.zarr"), mode="r").attrs["ome"]["multiscales"][0]["name"] == "out"


@pytest.mark.parametrize("dtype", ["bool", "uint16", "int32", "uint64", "float32"])
def test_the_type_is_kept(dtype, tmp_path):
    array = (VOXELS > 99) if dtype == "bool" else VOXELS.astype(dtype)
    made = converted(hdf5(tmp_path / "a.h5", {"a": array}), tmp_path / "out.zarr", voxel_size=SIZE)
    assert made.spec.dtype == dtype
    np.testing.assert_array_equal(made.read(made.spec.box), array)


def test_big_endian_voxels_keep_their_values(tmp_path):
    array = VOXELS.astype(">u2") * 257
    made = converted(tiff(tmp_path / "a.tif", array, byteorder=">"), tmp_path / "out.zarr", voxel_size=SIZE)
    assert made.spec.dtype == "uint16"
    np.testing.assert_array_equal(made.read(made.spec.box), array)


def test_volumes_bring_their_own_metadata(tmp_path):
    source = open_volume(volume(tmp_path / "in.zarr"))
    made = converted(source.path, tmp_path / "out.zarr", chunk=(2, 8, 16))
    assert (made.spec.voxel_size, made.spec.translation) == (SIZE, (3, 2, 1))
    assert made.spec.chunk == (2, 8, 16)
    np.testing.assert_array_equal(made.read(made.spec.box), VOXELS)


@pytest.mark.parametrize(
    ("options", "unit"),
    [
        ({"imagej": True, "resolution": (1 / 6.5, 1 / 6), "metadata": {"spacing": 30, "unit": "nm", "axes": "ZYX"}}, 1),
        (
            {"imagej": True, "resolution": (1 / 6.5, 1 / 6), "metadata": {"spacing": 30, "unit": "um", "axes": "ZYX"}},
            1e3,
        ),
        (
            {
                "ome": True,
                "metadata": {"axes": "ZYX", "PhysicalSizeX": 6.5, "PhysicalSizeY": 6.0, "PhysicalSizeZ": 30.0}
                | {f"PhysicalSize{n}Unit": "nm" for n in "XYZ"},
            },
            1,
        ),
    ],
    ids=["ImageJ", "ImageJ, micrometres", "OME"],
)
def test_a_tiff_may_say_its_voxel_size(options, unit, tmp_path):
    path = tiff(tmp_path / "em.tif", compression=None, predictor=None, **options)
    assert converted(path, tmp_path / "out.zarr").spec.voxel_size == pytest.approx([s * unit for s in SIZE])


@pytest.mark.parametrize("attributes", [{"resolution": SIZE}, {"element_size_um": [s / 1000 for s in SIZE]}])
def test_hdf5_may_say_its_voxel_size(attributes, tmp_path):
    path = hdf5(tmp_path / "em.h5", {"raw": VOXELS}, attributes)
    assert converted(path, tmp_path / "out.zarr").spec.voxel_size == pytest.approx(SIZE)


def test_affinities_keep_their_offsets(tmp_path):
    path = hdf5(
        tmp_path / "a.h5", {"a": AFFINITIES}, {"resolution": SIZE, "offsets": [[-1, 0, 0], [0, -1, 0], [0, 0, -1]]}
    )
    made = converted(path, tmp_path / "out.zarr")
    assert made.spec.channels == 3
    assert made.spec.offsets == ((1, 0, 0), (0, 1, 0), (0, 0, 1))  # theirs are added to p, ours subtracted
    np.testing.assert_array_equal(made.read(made.spec.box), AFFINITIES)


def test_axes_in_any_order_can_be_named(tmp_path):
    for name, array, axes in (
        ("xyz", VOXELS.T, "xyz"),
        ("zyxc", np.moveaxis(AFFINITIES, 0, -1), "zyxc"),
        ("tzcyx", VOXELS[None, :, None], "tzcyx"),
    ):
        path = hdf5(tmp_path / f"{name}.h5", {"a": array})
        made = converted(path, tmp_path / f"{name}.zarr", voxel_size=SIZE, axes=axes)
        np.testing.assert_array_equal(made.read(made.spec.box), AFFINITIES if name == "zyxc" else VOXELS)


def test_a_part_knows_where_it_lies(tmp_path):
    box = Box((2, 3, 4), (11, 17, 29))
    for name, source in (("volume", volume(tmp_path / "in.zarr")), ("tiff", tiff(tmp_path / "em.tif"))):
        made = converted(source, tmp_path / f"{name}.zarr", voxel_size=SIZE, box=box)
        shift = (3, 2, 1) if name == "volume" else (0, 0, 0)
        assert made.spec.translation == (2 * 30 + shift[0], 3 * 6 + shift[1], 4 * 6.5 + shift[2])
        np.testing.assert_array_equal(made.read(made.spec.box), VOXELS[box.slices()])


def test_regions_are_bounded_and_add_up_to_the_whole(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "SHARD", (4, 8, 8))
    monkeypatch.setattr(module, "REGION_BYTES", 4 * 8 * 16)
    read = []
    original = module._copy

    def watched(source, *arguments):
        def remember(box):
            read.append(box.voxels)
            return source.read(box)

        original(module.Source(**(vars(source) | {"read": remember})), *arguments)

    monkeypatch.setattr(module, "_copy", watched)
    made = converted(tiff(tmp_path / "em.tif"), tmp_path / "out.zarr", voxel_size=SIZE)
    np.testing.assert_array_equal(made.read(made.spec.box), VOXELS)
    assert max(read) == 4 * 8 * 16
    assert sum(read) == VOXELS.size


def test_progress_is_told_of_every_region(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "SHARD", (4, 8, 8))
    monkeypatch.setattr(module, "REGION_BYTES", 4 * 8 * 8)

    said = []
    watch = types.SimpleNamespace(begin=said.append, advance=said.append, close=lambda: said.append("closed"))
    converted(tiff(tmp_path / "em.tif"), tmp_path / "out.zarr", voxel_size=SIZE, progress=watch)
    assert said == [[("convert", 48, 0)], *["convert"] * 48, "closed"]


# --- refused ---------------------------------------------------------------------------------------------------------


def mixed_pages(d):
    with tifffile.TiffWriter(d / "em.tif") as writer:
        for height in (20, 20, 19):
            writer.write(np.zeros((height, 30), np.uint8), contiguous=False, metadata=None)
    return d / "em.tif"


def mixed_sections(d):
    folder = sections(d / "em", png, ".png")
    png(folder / "section_11.png", np.zeros((20, 31), np.uint8))
    return folder


def mixed_types(d):
    folder = sections(d / "em", tiff, ".tif")
    tiff(folder / "section_11.tif", np.zeros((20, 30), np.uint16))
    return folder


def mixed_kinds(d):
    folder = sections(d / "em", png, ".png")
    tiff(folder / "section_99.tif", VOXELS[0])
    return folder


def stack_in_a_folder(d):
    folder = sections(d / "em", tiff, ".tif")
    tiff(folder / "section_21.tif")
    return folder


def colour_png(d):
    return sections(d / "em", lambda path, section: png(path, np.stack([section, section, 255 - section], -1)), ".png")


RAINBOW = np.arange(5 * 20 * 30 * 3, dtype=np.uint8).reshape(5, 20, 30, 3)


def text(d):
    (d / "em.txt").write_text("hello")
    return d / "em.txt"


REFUSED = {
    "pages of mixed sizes": (mixed_pages, r"one size.*\(20, 30\).*: 0, 1; \(19, 30\).*: 2"),
    "sections of mixed sizes": (mixed_sections, r"section_8\.png has \(20, 30\).*section_11\.png has \(20, 31\)"),
    "sections of mixed types": (mixed_types, r"uint8.*section_8.*; .*uint16.*: section_11\.tif"),
    "sections of mixed kinds": (mixed_kinds, "both PNG and TIFF"),
    "a stack among sections": (stack_in_a_folder, "section_21.*13 pages"),
    "colour in TIFF": (lambda d: tiff(d / "em.tif", RAINBOW, photometric="rgb"), "coloured"),
    "colour in PNG": (colour_png, "coloured"),
    "one PNG": (lambda d: png(d / "em.png", VOXELS[0]) or d / "em.png", "Give the folder"),
    "nothing": (lambda d: d / "em.tif", "nothing is there"),
    "text": (text, "neither TIFF nor HDF5"),
    "several datasets": (lambda d: hdf5(d / "a.h5", {"raw": VOXELS, "labels": VOXELS}), "--dataset.*labels .*raw "),
    "no dataset": (lambda d: hdf5(d / "a.h5", {"row": VOXELS[0, 0]}), "no dataset of three axes.*row"),
    "complex numbers": (lambda d: hdf5(d / "a.h5", {"a": VOXELS * 1j}), "complex128"),
    "five axes": (lambda d: hdf5(d / "a.h5", {"a": VOXELS[None, None]}), "5 unnamed axes"),
}  # fmt: skip


@pytest.mark.parametrize("kind", REFUSED)
def test_what_is_no_volume_is_refused_before_anything_is_written(kind, tmp_path):
    make, words = REFUSED[kind]
    source = make(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(VolumeError, match=words):
        converted(source, tmp_path / "out.zarr", voxel_size=SIZE)
    assert sorted(tmp_path.rglob("*")) == before


def test_a_missing_voxel_size_is_asked_for(tmp_path):
    with pytest.raises(VolumeError, match="--voxel-size 30,6,6"):
        converted(tiff(tmp_path / "em.tif"), tmp_path / "out.zarr")


def test_nothing_is_overwritten(tmp_path):
    volume(tmp_path / "out.zarr")
    before = open_volume(tmp_path / "out.zarr").identity()
    with pytest.raises(VolumeError, match="exists and is not overwritten"):
        converted(tiff(tmp_path / "em.tif"), tmp_path / "out.zarr", voxel_size=SIZE)
    assert open_volume(tmp_path / "out.zarr").identity() == before


def test_options_that_do_not_fit_are_refused(tmp_path):
    source = tiff(tmp_path / "em.tif")
    for options, words in (
        ({"dataset": "raw"}, "Only HDF5"),
        ({"box": Box((0, 0, 0), (14, 20, 30))}, "must lie inside"),
        ({"box": Box((5, 5, 5), (5, 9, 9))}, "must lie inside"),
        ({"axes": "zy"}, "the axes z, y "),
        ({"axes": "zyq"}, "the axes z, y, q "),
        ({"chunk": (0, 8, 8)}, "at least 1"),
    ):
        with pytest.raises(RequestError, match=words):
            converted(source, tmp_path / "out.zarr", **({"voxel_size": SIZE} | options))
    with pytest.raises(RequestError, match="local disk"):
        converted(source, "s3://bucket/out.zarr", voxel_size=SIZE)
    with pytest.raises(VolumeError, match=r"no dataset 'raw'.*a \(13, 20, 30\)"):
        converted(hdf5(tmp_path / "a.h5", {"a": VOXELS}), tmp_path / "out.zarr", dataset="raw")


def test_without_h5py_the_extra_is_named(tmp_path, monkeypatch):
    path = hdf5(tmp_path / "a.h5", {"a": VOXELS})
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(RequestError, match="pip install h5py"):
        converted(path, tmp_path / "out.zarr")


# --- interrupted -----------------------------------------------------------------------------------------------------


def test_a_damaged_source_leaves_nothing_behind(tmp_path):
    path = tiff(tmp_path / "em.tif")
    content = bytearray(path.read_bytes())
    content[3000:3100] = bytes(100)
    path.write_bytes(content)
    with pytest.raises(StorageError, match=r"em\.tif.*damaged"):
        converted(path, tmp_path / "out.zarr", voxel_size=SIZE)
    assert [p.name for p in tmp_path.iterdir()] == ["em.tif"]


def test_what_a_killed_conversion_left_is_made_anew(tmp_path):
    partial = tmp_path / ".out.zarr.partial"
    create_volume(partial, VolumeSpec((1, 2, 3), "uint64", SIZE))
    made = converted(tiff(tmp_path / "em.tif"), tmp_path / "out.zarr", voxel_size=SIZE)
    np.testing.assert_array_equal(made.read(made.spec.box), VOXELS)
    assert not partial.exists()


def test_the_volume_appears_only_when_it_is_complete(tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(module, "_copy", lambda *_: seen.append((tmp_path / "out.zarr").exists()))
    converted(tiff(tmp_path / "em.tif"), tmp_path / "out.zarr", voxel_size=SIZE)
    assert seen == [False]
    assert json.loads((tmp_path / "out.zarr" / "zarr.json").read_text())["node_type"] == "group"


# --- names ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["out.tif", "out.h5", "out.n5", "OUT.TIFF", "out.png"])
def test_a_name_that_promises_another_format_is_refused(name, tmp_path):
    with pytest.raises(RequestError, match=r"OME-Zarr.*\.zarr"):
        converted(tiff(tmp_path / "em.tif"), tmp_path / name, voxel_size=SIZE)


def test_nothing_is_written_into_the_source(tmp_path):
    source = volume(tmp_path / "in.zarr")
    with pytest.raises(RequestError, match="lies inside"):
        converted(source, source / "out.zarr")


def test_one_channel_and_one_group_can_be_taken(tmp_path):
    group = zarr.open_group(str(tmp_path / "em.zarr"), mode="w")
    two = np.stack([VOXELS, 255 - VOXELS])
    group.create_array("volumes/raw", shape=two.shape, dtype=two.dtype, chunks=(1, 4, 8, 8))[...] = two
    options = {"voxel_size": SIZE, "dataset": "volumes/raw"}
    made = converted(tmp_path / "em.zarr", tmp_path / "out.zarr", channel=1, **options)
    np.testing.assert_array_equal(made.read(made.spec.box), 255 - VOXELS)
    with pytest.raises(VolumeError, match="2 channels, counted from 0"):
        converted(tmp_path / "em.zarr", tmp_path / "other.zarr", channel=2, **options)
