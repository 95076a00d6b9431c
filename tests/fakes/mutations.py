"""Foreign files of every format, drawn at random, and what befalls files: cut, flipped, zeroed, reworded, lost."""

from __future__ import annotations

import gzip
import json
import random

import h5py
import imagecodecs
import numpy as np
import tensorstore as ts
import tifffile
import zarr

from . import readers

TYPES = ("uint8", "uint16", "int16", "uint32", "float32")
ODD_VALUES = (None, -1, 0, 1, 2, 3, 7, 10**9, 2**63, 1.5, "", "x", "zyx", "nm", "\u00b5m", "/", ".", [], [1], [2, 2, 2],
              [30, 6, 6], [0, 6, 6], ["z", "y", "x"], {}, {"name": "x"}, True, False)  # fmt: skip


def draw_voxels(draw):
    shape = [draw.randint(1, 6), draw.randint(2, 20), draw.randint(2, 20)]
    values = np.random.default_rng(draw.getrandbits(32)).integers(1, 200, shape)
    return values.astype(draw.choice(TYPES))


def tiff(path, voxels, draw):
    """A stack in one of the ways in which stacks are written; as all of these, its path and what it holds."""
    compression = draw.choice([None, None, "zlib", "lzw", "packbits", "zstd"])
    layout = draw.choice([{}, {"tile": (16, 16)}, {"rowsperstrip": draw.randint(1, 5)}])
    kind = draw.choice(["pages", "pages", "shaped", "imagej", "ome", "appended", "colours", "inside"])
    order = {"bigtiff": draw.random() < 0.3, "byteorder": draw.choice("<>")}
    if kind == "imagej" and voxels.dtype.name in ("uint8", "uint16", "float32"):
        tifffile.imwrite(path, voxels, imagej=True, metadata={"axes": "ZYX", "spacing": 30.0, "unit": "nm"})
    elif kind == "ome":
        options = {"photometric": "minisblack", "metadata": {"axes": "ZYX"}}
        tifffile.imwrite(path, voxels, ome=True, compression=compression, **options)
    elif kind == "shaped":
        tifffile.imwrite(path, voxels, photometric="minisblack", compression=compression, **order, **layout)
    elif kind == "appended":
        for number, plane in enumerate(voxels):
            tifffile.imwrite(path, plane, photometric="minisblack", append=number > 0, compression=compression)
    else:
        with tifffile.TiffWriter(path, **order) as file:
            for plane in voxels:
                options = {"photometric": "minisblack", "metadata": None, "contiguous": False}
                options |= {"compression": compression}
                if kind == "colours" and plane.dtype.kind == "u" and plane.dtype.itemsize < 4:
                    file.write(np.stack([plane] * 3, -1), **options | {"photometric": "rgb"}, **layout)
                elif kind == "inside":
                    file.write(plane, subifds=1, **options, **layout)
                    file.write(plane[::2, ::2], subfiletype=1, metadata=None, photometric="minisblack")
                else:
                    file.write(plane, **options, **layout)
    return path, voxels


def hdf5(path, voxels, draw):
    # Not LZF: of damaged chunks, HDF5's filter leaves the rest as memory happens to be, and no reader notices.
    options = draw.choice([{}, {"chunks": True}, {"compression": "gzip"}, {"shuffle": True}, {"fletcher32": True}])
    with h5py.File(path, "w", userblock_size=draw.choice([0, 512])) as file:
        made = file.create_dataset("raw", data=voxels, **options)
        made.attrs.update(draw.choice([{}, {"element_size_um": 0.008}, {"resolution": [30, 6, 6], "unit": "nm"}]))
    return path, voxels


def zarr_array(path, voxels, draw):
    zarr_format = draw.choice([2, 3])
    chunks = tuple(draw.randint(1, n + 1) for n in voxels.shape)
    options = draw.choice([{}, {"compressors": None}, {"fill_value": 3}])
    if zarr_format == 2:
        options |= {"chunk_key_encoding": {"name": "v2", "separator": draw.choice("./")}}
    made = zarr.create_array(
        str(path), shape=voxels.shape, dtype=voxels.dtype, chunks=chunks, zarr_format=zarr_format, **options
    )
    made[...] = voxels
    made.attrs.update(draw.choice([{}, {"resolution": [30, 6, 6]}, {"axes": ["z", "y", "x"]}]))
    return path, voxels


def n5(path, voxels, draw):
    metadata = {
        "dimensions": list(voxels.shape[::-1]),
        "blockSize": [draw.randint(1, n + 1) for n in voxels.shape[::-1]],
        "dataType": voxels.dtype.name,
        "compression": draw.choice([{"type": "gzip"}, {"type": "raw"}]),
    }
    kvstore = {"driver": "file", "path": f"{path}/"}
    ts.open({"driver": "n5", "kvstore": kvstore, "metadata": metadata}, create=True).result()[...] = voxels.T
    more = draw.choice([{}, {"resolution": [6, 6, 30]}, {"downsamplingFactors": [2, 2, 1]}, {"axes": ["x", "y", "z"]}])
    (path / "attributes.json").write_text(json.dumps(metadata | more))
    return path, voxels


def precomputed(path, voxels, draw):
    scale = {
        "size": list(voxels.shape[::-1]),
        "resolution": [6, 6, 30],
        "encoding": "raw",
        "chunk_size": [draw.randint(1, n + 1) for n in voxels.shape[::-1]],
        "key": "full",
        "voxel_offset": [draw.randint(-9, 9) for _ in range(3)],
    }
    spec = {
        "driver": "neuroglancer_precomputed",
        "kvstore": {"driver": "file", "path": f"{path}/"},
        "multiscale_metadata": {"data_type": voxels.dtype.name, "num_channels": 1, "type": "image"},
        "scale_metadata": scale,
    }
    ts.open(spec, create=True).result()[...] = voxels.T[..., None]
    if draw.random() < 0.3:
        for chunk in list((path / "full").iterdir()):
            chunk.with_name(f"{chunk.name}.gz").write_bytes(gzip.compress(chunk.read_bytes()))
            chunk.unlink()
    return path, voxels


def sections(path, voxels, draw):
    ending, encode = draw.choice([(".png", imagecodecs.png_encode), (".bmp", imagecodecs.bmp_encode)])
    path.mkdir()
    voxels = voxels.astype(np.uint8)
    for z, plane in enumerate(voxels):
        (path / f"s{z:02d}{ending}").write_bytes(encode(np.ascontiguousarray(plane)))
    return path, voxels


KEYS = (
    {"dimension_separator": "."},
    {"dimension_separator": "/"},
    {"chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}}},
)
WRITERS = {
    "TIFF": (tiff, [readers.tiff_pages, readers.tiff_series]),
    "HDF5": (hdf5, [readers.hdf5_array]),
    "zarr": (zarr_array, [readers.zarr_array, *map(readers.zarr_with_keys, KEYS)]),
    "N5": (n5, [readers.n5_array]),
    "precomputed": (precomputed, [readers.precomputed_array]),
    "sections": (sections, [lambda p: readers.images(p, ".png"), lambda p: readers.images(p, ".bmp")]),
}
"""Of each format how it is written, and who reads it beside us."""


def mutate(path, draw):
    """Let something befall the files at a path."""
    for _ in range(draw.randint(1, 3)):
        files = readers.folder_of(path)
        documents = [f for f in files if f.name in ("zarr.json", ".zarray", ".zattrs", "attributes.json", "info")]
        file = draw.choice(documents if documents and draw.random() < 0.6 else files)
        if file in documents and draw.random() < 0.8:
            _reword(file, draw)
        elif len(files) > 1 and draw.random() < 0.15:
            file.unlink()
        else:
            file.write_bytes(_damaged(file.read_bytes(), draw))


def _damaged(content, draw):
    """Bytes that were cut, flipped, zeroed, inserted or written twice, mostly near the beginning, where headers are."""
    size = max(1, len(content))
    at = draw.randrange(size if draw.random() < 0.5 else min(size, 400))
    length = draw.choice([1, 1, 1, 2, 4, draw.randint(1, 64)])
    how = draw.choice(["flip", "flip", "flip", "odd", "cut", "zero", "insert", "lose", "twice"])
    if how == "flip":
        flipped = bytes(b ^ (1 << draw.randrange(8)) for b in content[at : at + length])
        return content[:at] + flipped + content[at + length :]
    if how == "odd":
        word = draw.choice([b"\0\0", b"\xff\xff", b"\1\0", b"\0\1", b"\xff\xff\xff\xff", b"\0\0\0\x80", b"\x7f"])
        return content[:at] + word + content[at + len(word) :]
    if how == "cut":
        return content[:at]
    if how == "zero":
        return content[:at] + bytes(min(length, len(content) - at)) + content[at + length :]
    if how == "insert":
        return content[:at] + random.Random(at).randbytes(length) + content[at:]
    return content[:at] + content[at + length :] if how == "lose" else content + content[at:]


def _reword(file, draw):
    """One value of a JSON document, anywhere in it, becomes another one, goes, or gets a sister."""
    try:
        document = json.loads(file.read_text())
    except ValueError:
        return
    place = document
    while isinstance(place, dict | list) and place:
        keys = list(place) if isinstance(place, dict) else list(range(len(place)))
        key = draw.choice(keys)
        if not isinstance(place[key], dict | list) or draw.random() < 0.4:
            break
        place = place[key]
    if not isinstance(place, dict | list) or not place:
        return
    how = draw.choice(["odd", "odd", "odd", "lose", "add"])
    if how == "odd":
        place[key] = draw.choice(ODD_VALUES)
    elif how == "lose":
        del place[key]
    elif isinstance(place, dict):
        names = ["resolution", "voxel_size", "units", "axes", "offset", "dimension_separator", "axistags"]
        place[draw.choice(names)] = draw.choice(ODD_VALUES)
    else:
        place.append(draw.choice(ODD_VALUES))
    file.write_text(json.dumps(document))
