"""Zarr arrays whose codecs TensorStore lacks, read by zarr-python: slower, but the same voxels."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np

from ..locations import Document
from .arrays import Opened, ReadArray

SAFE = frozenset(
    {
        *("bytes", "transpose", "sharding_indexed"),
        *("blosc", "bz2", "gzip", "zlib", "zstd", "lz4", "lzma", "zfpy", "pcodec"),
        *("delta", "fixedscaleoffset", "quantize", "bitround", "shuffle", "packbits", "astype"),
        *("fletcher32", "crc32", "crc32c", "adler32", "jenkins_lookup3"),
    }
)
"""Codecs that turn bytes into bytes or numbers; others of numcodecs, such as pickle, may run what they read."""


def codecs_of(document: Document) -> list[str]:
    """Returns the codecs and filters of an array's metadata, zarr or N5, inner ones of shards included."""
    found = [document.get("compressor"), document.get("compression"), *_listed(document.get("filters"))]
    names = [str(codec.get("id", codec.get("type"))) for codec in found if isinstance(codec, dict)]
    for codec in _listed(document.get("codecs")):
        if isinstance(codec, dict):
            names.append(str(codec.get("name")))
            inner = codec.get("configuration")
            names += codecs_of(inner) if isinstance(inner, dict) else []
    return names


def unsafe_codecs(document: Document) -> list[str]:
    """Returns those codecs that are not read."""
    return [name for name in codecs_of(document) if name.removeprefix("numcodecs.") not in SAFE]


def read_by_zarr_python(path: Path, codecs: list[str]) -> Opened:
    """Returns a local array by zarr-python.

    Raises:
        ValueError, KeyError, and whatever else zarr-python raises where it cannot read it either.
    """
    import zarr

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of codecs that are no part of zarr v3 yet
        array = zarr.open_array(str(path), mode="r")
    dtype = np.dtype(array.dtype)
    if dtype.kind not in "biuf":
        raise ValueError(f"its type is {dtype}")
    fill = array.fill_value
    names = getattr(array.metadata, "dimension_names", None) or ()
    chunk = tuple(array.chunks)
    read = ReadArray(
        shape=tuple(array.shape),
        dtype=dtype.newbyteorder("=").name,
        fill_value=0 if fill is None else np.asarray(fill).item(),
        chunk=chunk,
        shard=tuple(array.shards or chunk),
        reader=lambda where: np.asarray(array[where]),
    )
    slow = f"It is read by zarr-python, which takes longer, for its codecs are {', '.join(codecs)}"
    return Opened(read, tuple(str(name or "") for name in names), remarks=(slow,))


def _listed(value: object) -> list[object]:
    return value if isinstance(value, list) else []
