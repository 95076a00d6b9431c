"""Slow, independent readers of foreign files: tifffile, h5py, zarr-python, Pillow, N5 and precomputed by hand."""

from __future__ import annotations

import gzip
import io
import itertools
import json
import math
import struct
import warnings
from pathlib import Path

import h5py
import numpy as np
import tifffile
import zarr
from PIL import Image

MOST = 100_000
"""Voxels up to which an array is read as a whole; of one that claims more, its first 16 voxels along each axis."""


def part(shape):
    """The part of an array that is read; a damaged shape may claim more than any memory holds."""
    return tuple(slice(0, n if math.prod(shape) <= MOST else min(n, 16)) for n in shape)


def tiff_pages(path):
    """The planes of all pages that are no smaller pictures of others, (N, Y, X); of equal colours one."""
    with tifffile.TiffFile(path, _multifile=False) as file:
        pages = [page for page in file.pages if not page.subfiletype & 5] or list(file.pages)
        planes = [(page.asarray(), page.axes) for page in pages]
    found = []
    for plane, axes in planes:
        if "S" in axes:
            samples = np.moveaxis(plane, axes.index("S"), 0)
            assert (samples == samples[0]).all()
            plane = samples[0]
        found += list(plane) if plane.ndim == 3 else [plane]
    return np.stack(found)


def tiff_series(path):
    """All planes by tifffile's understanding of the metadata, (N, Y, X)."""
    with tifffile.TiffFile(path, _multifile=False) as file:
        array = file.series[0].asarray()
    return array.reshape(-1, *array.shape[-2:])


def hdf5_array(path):
    """The only array of three axes."""
    with h5py.File(path, "r", locking=False) as file:
        found = [item for item in file.values() if isinstance(item, h5py.Dataset) and len(item.shape) == 3]
        return found[0][part(found[0].shape)]


def zarr_array(path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        array = zarr.open_array(str(path), mode="r")
        return np.asarray(array[part(array.shape)])


def zarr_with_keys(change):
    """An array by zarr-python, once its metadata names chunks otherwise."""

    def read(path):
        (file,) = [path / name for name in ("zarr.json", ".zarray") if (path / name).exists()]
        before = file.read_text()
        try:
            file.write_text(json.dumps(json.loads(before) | change))
            return zarr_array(path)
        finally:
            file.write_text(before)

    return read


def images(folder, ending):
    """The sections of a folder in the order of their names, by Pillow."""
    found = [Image.open(io.BytesIO(p.read_bytes())) for p in sorted(folder.glob(f"*{ending}"))]
    return np.stack([np.asarray(image.convert("L") if image.mode == "P" else image) for image in found])


def n5_array(path):
    """Blocks of N5, raw or gzip: each begins with its size, big-endian, and has x fastest."""
    document = json.loads((path / "attributes.json").read_text())
    shape, block = [here.stop for here in part(document["dimensions"])], document["blockSize"]
    dtype = np.dtype(document["dataType"]).newbyteorder(">")
    out = np.zeros(shape, dtype.newbyteorder("="))
    for index in itertools.product(*(range(-(-n // b)) for n, b in zip(shape, block, strict=True))):
        file = path.joinpath(*map(str, index))
        if file.is_file():
            content = file.read_bytes()
            _, rank = struct.unpack_from(">HH", content)
            size = struct.unpack_from(f">{rank}I", content, 4)
            body = content[4 + 4 * rank :]
            body = gzip.decompress(body) if document["compression"]["type"] == "gzip" else body
            values = np.frombuffer(body, dtype, int(np.prod(size))).reshape(size, order="F")
            here = tuple(slice(i * b, min(i * b + n, o)) for i, b, n, o in zip(index, block, size, shape, strict=True))
            out[here] = values[tuple(slice(0, along.stop - along.start) for along in here)]
    return out.T


def precomputed_array(path):
    """Raw chunks of precomputed, named by their corners, x fastest."""
    info = json.loads((path / "info").read_text())
    scale = info["scales"][0]
    origin, chunk = scale.get("voxel_offset", [0, 0, 0]), scale["chunk_sizes"][0]
    out = np.zeros([here.stop for here in part(scale["size"])], info["data_type"])
    for start in itertools.product(*(range(0, n, c) for n, c in zip(out.shape, chunk, strict=True))):
        stop = [min(s + c, n) for s, c, n in zip(start, chunk, scale["size"], strict=True)]
        name = "_".join(f"{o + a}-{o + b}" for o, a, b in zip(origin, start, stop, strict=True))
        file, packed = path / scale["key"] / name, path / scale["key"] / f"{name}.gz"
        content = (
            file.read_bytes() if file.is_file() else gzip.decompress(packed.read_bytes()) if packed.is_file() else b""
        )
        if content:
            values = np.frombuffer(content, np.dtype(info["data_type"]).newbyteorder("<"))
            values = values.reshape([b - a for a, b in zip(start, stop, strict=True)], order="F")
            here = tuple(slice(a, min(b, n)) for a, b, n in zip(start, stop, out.shape, strict=True))
            out[here] = values[tuple(slice(0, along.stop - along.start) for along in here)]
    return out.T


def folder_of(path):
    """All files at or below a path."""
    return [path] if path.is_file() else sorted(p for p in Path(path).rglob("*") if p.is_file())
