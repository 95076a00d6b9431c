"""Chunks that were compressed once more as whole files: each is unpacked into memory when a box needs it."""

from __future__ import annotations

import bz2
import itertools
import json
import lzma
import threading
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

import numpy as np

from ..locations import Document
from .arrays import ReadArray, TensorStoreArray, Where
from .chunk_files import PACKED

_SPARE = 1 << 20
"""Bytes by which an encoded chunk may be larger than its voxels."""

ChunkName = Callable[[tuple[int, ...]], str]


def packed_array(folder: Path, spec: Document, documents: dict[str, Document], name: ChunkName) -> ReadArray:
    """Opens an array whose chunks lie packed, as NAME.gz or gzipped under their own name; some may be plain.

    Args:
        folder: of the array's metadata.
        spec: TensorStore's, without the kvstore.
        documents: the metadata, by the name of its file.
        name: path below the folder of the chunk at an index of the grid.

    Raises:
        ValueError and others of TensorStore: the metadata is not that of an array.
    """
    import tensorstore as ts

    context = ts.Context()  # its memory is nobody else's
    memory = ts.KvStore.open({"driver": "memory"}, context=context).result()
    for file, document in documents.items():
        memory.write(file, json.dumps(document).encode()).result()
    array = TensorStoreArray(ts.open({**spec, "kvstore": {"driver": "memory"}}, context=context).result())
    chunk, limit = array.chunk, _limit(array)
    one_by_one = threading.Lock()

    def read(where: Where) -> np.ndarray:
        with one_by_one:
            names = [name(index) for index in _touched(where, array.shape, chunk)]
            for key in names:
                content = _content(folder / key, limit)
                if content is not None:
                    memory.write(key, content).result()
            try:
                return array.read(where)
            finally:
                for key in names:
                    memory.write(key, None).result()

    return ReadArray(array.shape, array.dtype, array.fill_value, chunk, array.shard, read)


def _limit(array: TensorStoreArray) -> int:
    voxels = int(np.prod([max(1, c) for c in array.chunk], dtype=np.int64))
    return 2 * voxels * np.dtype(array.dtype).itemsize + _SPARE


def _touched(where: Where, shape: tuple[int, ...], chunk: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
    ranges = []
    for part, length, unit in zip(where, shape, chunk, strict=True):
        start, stop, _ = part.indices(length)
        ranges.append(range(start // unit, -(-stop // unit)))
    return itertools.product(*ranges)


def _content(path: Path, limit: int) -> bytes | None:
    """Unpacks the file of a chunk; None where there is none."""
    for ending in ("", *PACKED):
        file = path.with_name(path.name + ending)
        if file.is_file():
            content = file.read_bytes()
            packing = ending or (".gz" if is_gzip(content) else "")
            return _unpacked(content, packing, limit) if packing else content
    return None


def is_gzip(content: bytes) -> bool:
    return content.startswith(b"\x1f\x8b\x08")


def _unpacked(content: bytes, packing: str, limit: int) -> bytes:
    try:
        data, whole = _UNPACK[packing](content, limit + 1)
    except (zlib.error, EOFError, lzma.LZMAError, RuntimeError, ValueError) as error:
        raise OSError(f"decoding {packing}: {error}") from error
    if len(data) > limit or not whole:
        why = "it is cut short" if len(data) <= limit else f"it has more than the {limit} bytes that it can have"
        raise OSError(f"decoding {packing}: {why}")
    return data


class _Unpacker(Protocol):
    @property
    def eof(self) -> bool: ...
    def decompress(self, data: bytes, max_length: int, /) -> bytes: ...


def _streamed(unpacker: _Unpacker, content: bytes, most: int) -> tuple[bytes, bool]:
    data = unpacker.decompress(content, most)
    return data, unpacker.eof or len(data) == most


def _at_once(codec: str, content: bytes, most: int) -> tuple[bytes, bool]:
    import imagecodecs

    return bytes(getattr(imagecodecs, codec)(content, out=most)), True


_UNPACK: dict[str, Callable[[bytes, int], tuple[bytes, bool]]] = {
    ".gz": lambda content, most: _streamed(zlib.decompressobj(wbits=31), content, most),
    ".bz2": lambda content, most: _streamed(bz2.BZ2Decompressor(), content, most),
    ".xz": lambda content, most: _streamed(lzma.LZMADecompressor(), content, most),
    ".br": lambda content, most: _at_once("brotli_decode", content, most),
    ".zst": lambda content, most: _at_once("zstd_decode", content, most),
    ".zstd": lambda content, most: _at_once("zstd_decode", content, most),
}
"""The content of a file, up to so many bytes, and whether it came to its end."""
