"""Chunks are read under the names and in the codecs that they really have; where there are none, that is said."""

import bz2
import gzip
import json
import lzma

import imagecodecs
import numcodecs
import numpy as np
import pytest
import tensorstore as ts
import zarr
from zarr.codecs import numcodecs as codecs_of_zarr_3

from petavox.pipeline.errors import StorageError, VolumeError
from petavox.pipeline.geometry import Box
from petavox.pipeline.volumes import VolumeSpec, create_volume, open_volume, survey

VOXELS = np.random.default_rng(0).integers(1, 255, (5, 6, 7), dtype=np.uint8)
SIZE = (30.0, 6.0, 6.5)
BOX = Box((1, 2, 3), (5, 4, 7))
PACK = {".gz": gzip.compress, ".bz2": bz2.compress, ".xz": lzma.compress, ".br": imagecodecs.brotli_encode}


def array(path, zarr_format=2, voxels=VOXELS, **options):
    settings = {"shape": voxels.shape, "dtype": voxels.dtype, "chunks": (2, 3, 4), "zarr_format": zarr_format}
    made = zarr.create_array(str(path), **(settings | options))
    made[...] = voxels
    made.attrs["resolution"] = list(SIZE)
    return path


def reworded(path, **changes):
    """An array with other words in its metadata; None takes one away."""
    file = path / (".zarray" if (path / ".zarray").exists() else "zarr.json")
    document = json.loads(file.read_text()) | changes
    file.write_text(json.dumps({key: value for key, value in document.items() if value is not None}))
    return path


def precomputed(path, **scale):
    settings = {"size": [7, 6, 5], "resolution": SIZE[::-1], "encoding": "raw", "chunk_size": [4, 3, 2], "key": "full"}
    spec = {
        "driver": "neuroglancer_precomputed",
        "kvstore": {"driver": "file", "path": f"{path}/"},
        "multiscale_metadata": {"data_type": "uint8", "num_channels": 1, "type": "image"},
        "scale_metadata": settings | {"voxel_offset": [70, -6, 5]} | scale,
    }
    ts.open(spec, create=True).result()[...] = VOXELS.T[..., None]
    return path


def chunks(path):
    return [p for p in path.rglob("*") if p.is_file() and (p.name[0].isdigit() or p.name.startswith("c."))]


def packed(path, pack, ending, some=slice(None)):
    """The chunks compressed once more as whole files."""
    for chunk in sorted(chunks(path))[some]:
        content = chunk.read_bytes()
        chunk.unlink()
        chunk.with_name(chunk.name + ending).write_bytes(pack(content))
    return path


def check(path):
    volume = open_volume(path)
    np.testing.assert_array_equal(volume.read(volume.spec.box), VOXELS)
    np.testing.assert_array_equal(volume.read(BOX), VOXELS[BOX.slices()])
    assert volume.spec.voxel_size == pytest.approx(SIZE)
    assert volume.spec.chunk == (2, 3, 4)
    return volume


def keys(name, separator):
    return {"name": name, "separator": separator}


def encoding(name, separator):
    return {"name": name, "configuration": {"separator": separator}}


NAMED = {
    "nested, and nothing said": (2, keys("v2", "/"), {"dimension_separator": None}),
    "nested, though a dot is said": (2, keys("v2", "/"), {"dimension_separator": "."}),
    "flat, though a slash is said": (2, keys("v2", "."), {"dimension_separator": "/"}),
    "v3, as v2 said": (3, keys("default", "/"), {"chunk_key_encoding": encoding("v2", ".")}),
    "v3, flat": (3, keys("default", "."), {"chunk_key_encoding": encoding("default", "/")}),
    "v3, nested": (3, keys("default", "/"), {"chunk_key_encoding": encoding("default", ".")}),
    "v3, named as in v2": (3, keys("v2", "."), {"chunk_key_encoding": encoding("default", "/")}),
    "v3, nested as in v2": (3, keys("v2", "/"), {"chunk_key_encoding": encoding("default", "/")}),
}


@pytest.mark.parametrize("kind", NAMED)
def test_chunks_are_read_under_the_names_that_they_have(kind, tmp_path):
    zarr_format, named, said = NAMED[kind]
    volume = check(reworded(array(tmp_path / "v", zarr_format, chunk_key_encoding=named), **said))
    assert "Its metadata says that chunks are named" in volume.remarks[0]


def test_chunks_that_are_named_as_said_need_no_remark(tmp_path):
    for zarr_format in (2, 3):
        assert check(array(tmp_path / f"{zarr_format}", zarr_format)).remarks == ()


def test_chunks_in_two_ways_are_mentioned_or_refused(tmp_path):
    path = array(tmp_path / "v")
    (path / "0" / "0").mkdir(parents=True)
    (path / "0" / "0" / "0").write_bytes(b"x")
    assert "Some of its chunks are named" in check(path).remarks[0]
    reworded(path, dimension_separator=".")
    (path / "c").mkdir()
    mixed = reworded(array(tmp_path / "w", 3, chunk_key_encoding=keys("v2", ".")), chunk_key_encoding=None)
    (mixed / "0" / "0").mkdir(parents=True)
    (mixed / "0" / "0" / "0").write_bytes(b"x")
    with pytest.raises(VolumeError, match="named in one way"):
        open_volume(mixed)


@pytest.mark.parametrize("ending", PACK)
@pytest.mark.parametrize("kind", ["zarr v2", "zarr v3", "precomputed", "half of precomputed"])
def test_chunks_that_were_packed_as_whole_files_are_unpacked(kind, ending, tmp_path):
    make = {"zarr v2": array, "zarr v3": lambda p: array(p, 3)}.get(kind, precomputed)
    some = slice(None, None, 2) if kind.startswith("half") else slice(None)
    volume = check(packed(make(tmp_path / "v"), PACK[ending], ending, some))
    assert "packed as whole files" in volume.remarks[0]
    if "precomputed" in kind:
        assert volume.spec.translation == pytest.approx((5 * 30, -6 * 6, 70 * 6.5))


def test_chunks_that_were_gzipped_under_their_own_names_are_unpacked(tmp_path):
    assert "gzip under their own names" in check(packed(precomputed(tmp_path / "v"), gzip.compress, "")).remarks[0]


def test_n5_blocks_may_be_packed_too(tmp_path):
    metadata = {"dimensions": [7, 6, 5], "blockSize": [4, 3, 2], "dataType": "uint8", "compression": {"type": "gzip"}}
    kvstore = {"driver": "file", "path": f"{tmp_path}/v/"}
    ts.open({"driver": "n5", "kvstore": kvstore, "metadata": metadata}, create=True).result()[...] = VOXELS.T
    file = tmp_path / "v" / "attributes.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"resolution": SIZE[::-1]}))
    check(packed(tmp_path / "v", gzip.compress, ".gz"))


DAMAGE = {
    "cut short": lambda content: content[:-20],
    "changed": lambda content: content[:15] + bytes(3) + content[18:],
    "endless": lambda _: gzip.compress(bytes(10**8)),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_a_packed_chunk_that_is_damaged_or_endless_is_an_error(damage, tmp_path):
    path = packed(precomputed(tmp_path / "v"), gzip.compress, ".gz")
    first = sorted(p for p in path.rglob("*.gz"))[0]
    first.write_bytes(damage(first.read_bytes()))
    with pytest.raises(StorageError, match="What is stored there is damaged"):
        check(path)


def test_metadata_that_was_packed_too_says_how_to_unpack_it(tmp_path):
    path = array(tmp_path / "v")
    for file in list(path.iterdir()):
        file.rename(file.with_name(file.name + ".gz"))
    with pytest.raises(VolumeError, match=r"gunzip -r .*v"):
        open_volume(path)


def test_a_scale_of_precomputed_is_opened_by_its_folder(tmp_path):
    check(precomputed(tmp_path / "v") / "full")


CODECS = {
    "LZ4": lambda: {"compressors": numcodecs.LZ4()},
    "LZMA": lambda: {"compressors": numcodecs.LZMA()},
    "differences": lambda: {"filters": [numcodecs.Delta(dtype="u1")]},
    "shuffled": lambda: {"filters": [numcodecs.Shuffle(1)]},
    "fixed": lambda: {"filters": [numcodecs.FixedScaleOffset(offset=0, scale=1, dtype="u1", astype="u1")]},
    "LZ4 in zarr v3": lambda: {"zarr_format": 3, "compressors": [codecs_of_zarr_3.LZ4()]},
}


@pytest.mark.filterwarnings("ignore:Numcodecs codecs are not in the Zarr version 3")
@pytest.mark.parametrize("kind", CODECS)
def test_codecs_that_tensorstore_lacks_are_read_by_zarr_python(kind, tmp_path):
    volume = check(array(tmp_path / "v", **CODECS[kind]()))
    assert "read by zarr-python, which takes longer" in volume.remarks[0]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"filters": [{"id": "pickle", "protocol": 5}]}, "codecs that are not read: pickle.*zstd, gzip or blosc"),
        ({"compressor": {"id": "jpegxl"}}, "codecs that are not read: jpegxl"),
        ({"dtype": "<M8[ns]"}, "booleans, integers or floats"),
        ({"dtype": "|O"}, "booleans, integers or floats"),
    ],
    ids=str,
)
def test_codecs_and_types_that_are_not_read_are_named(change, words, tmp_path):
    with pytest.raises(VolumeError, match=words):
        open_volume(reworded(array(tmp_path / "v"), **change))


# --- what is said of values -----------------------------------------------------------------------------------------


def test_a_volume_whose_chunks_are_gone_is_said_aloud(tmp_path):
    path = array(tmp_path / "v")
    assert survey(open_volume(path)) == ()
    for chunk in chunks(path):
        chunk.unlink()
    assert "nothing but the fill value 0" in survey(open_volume(path))[0]


@pytest.mark.parametrize("fill", [np.nan, 7.0])
def test_other_fill_values_are_known_too(fill, tmp_path):
    path = array(tmp_path / "v", 3, np.full((5, 6, 7), fill, np.float32), fill_value=fill)
    assert "nothing but the fill value" in survey(open_volume(path))[0]


def test_voxels_that_are_no_number_are_said_aloud(tmp_path):
    voxels = VOXELS.astype(np.float32)
    voxels[0] = np.nan
    assert (
        "% of the voxels that were looked at are infinite or not a number"
        in survey(open_volume(array(tmp_path / "v", voxels=voxels)))[0]
    )


def test_only_a_few_places_are_looked_at(tmp_path, monkeypatch):
    volume = create_volume(tmp_path / "v.zarr", VolumeSpec((4000, 4000, 4000), "uint8", SIZE, channels=3))
    read, original = [], type(volume).read

    def watched(self, box, channels=None):
        read.append(box)
        return original(self, box, channels)

    monkeypatch.setattr(type(volume), "read", watched)
    survey(volume)
    assert len(read) == 9
    assert max(box.voxels for box in read) <= 32**3
