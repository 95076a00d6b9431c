"""Edge, link, merge and count tables: named one-dimensional arrays in one Parquet file, written whole or not at all.

A file holds one row; each array is one list column, so arrays of different lengths share a file and a reader loads
only the columns that it names. `pandas.read_parquet(path).explode(column)` shows one of them.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from . import checksums
from .errors import TableError
from .files import replacing
from .locations import Location, is_url

if TYPE_CHECKING:
    import pyarrow.parquet as pq

Arrays = dict[str, npt.NDArray[Any]]
COMPRESSION = {"compression": "zstd", "compression_level": 1}
"""After the split into byte streams, level 3 takes 7 % fewer bytes for a third more time."""


class Written(NamedTuple):
    """Describes the file that `write` made: its bytes in storage, and the checksum of its arrays."""

    bytes: int
    checksum: int


def write(path: str | Path, arrays: Mapping[str, npt.NDArray[Any]]) -> Written:
    """Write named one-dimensional arrays atomically; the same arrays always give the same bytes.

    Raises:
        TableError: an array is not one-dimensional.
        StorageError: the file cannot be written.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns, fields = [], []
    for name, values in arrays.items():
        if values.ndim != 1:
            raise TableError(f"Tables hold one-dimensional arrays; '{name}' for {path} has shape {values.shape}.")
        column = pa.array(np.ascontiguousarray(values))
        offsets = pa.array([0, len(values)], type=pa.int64())
        columns.append(pa.LargeListArray.from_arrays(offsets, column))
        fields.append(pa.field(name, pa.large_list(column.type)))
    table = pa.Table.from_arrays(columns, schema=pa.schema(fields))
    settings = {
        "use_dictionary": False,
        "column_encoding": _encodings(arrays),
        "write_page_checksum": True,
        **COMPRESSION,
    }
    if is_url(str(path)):
        stream = pa.BufferOutputStream()
        pq.write_table(table, stream, **settings)
        content = stream.getvalue()
        folder, _, name = str(path).rpartition("/")
        Location(folder).write(name, content.to_pybytes())
        return Written(content.size, checksums.of_columns(arrays.items()))
    with replacing(path, "Table ") as scratch:
        scratch.parent.mkdir(parents=True, exist_ok=True)
        with scratch.open("wb") as file:
            pq.write_table(table, file, **settings)
            file.flush()
            os.fsync(file.fileno())
        size = scratch.stat().st_size
    return Written(size, checksums.of_columns(arrays.items()))


def _encodings(arrays: Mapping[str, npt.NDArray[Any]]) -> dict[str, str]:
    """One stream for each byte of a number: ids and counts differ in their low bytes, the others take next to nothing.

    Against plain numbers this saves two fifths of the time of writing, at no more bytes (docs/storage.md). Parquet has
    no such encoding for booleans, which take a bit each as they are.
    """
    return {f"{name}.list.element": "BYTE_STREAM_SPLIT" for name, values in arrays.items() if values.dtype != np.bool_}


def read(path: str | Path, names: Iterable[str] | None = None) -> Arrays:
    """Read the named arrays, or all of them.

    Raises:
        TableError: the file is missing, damaged, or lacks a name.
    """
    return dict(_columns(path, names))


def checksum(path: str | Path) -> int:
    """Returns the checksum of the arrays in storage, as `write` returned it; holds one array at a time.

    Raises:
        TableError: the file is missing, or damaged.
    """
    return checksums.of_columns(_columns(path))


def _columns(path: str | Path, names: Iterable[str] | None = None) -> Iterator[tuple[str, npt.NDArray[Any]]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        # One column at a time: read together, their buffers take twice the memory and four times the time.
        with pq.ParquetFile(_source(path), page_checksum_verification=True) as file:
            for name in file.schema_arrow.names if names is None else names:
                yield name, _column(file, name)
    except FileNotFoundError as error:
        raise TableError(f"Table {path} is missing; the task that writes it must run again.") from error
    except (pa.ArrowException, OSError, ValueError, LookupError, AttributeError) as error:  # a schema may be garbage
        raise TableError(f"Table {path} cannot be read ({error}); the task that writes it must run again.") from error
    finally:
        pa.default_memory_pool().release_unused()


def _source(path: str | Path) -> Any:
    """Returns the source that pyarrow reads a table from: a path, or the whole content of an object in a bucket."""
    if not is_url(str(path)):
        return path
    import pyarrow as pa

    folder, _, name = str(path).rpartition("/")
    content = Location(folder).read(name)
    if content is None:
        raise FileNotFoundError(str(path))
    return pa.BufferReader(content)


def _column(file: pq.ParquetFile, name: str) -> npt.NDArray[Any]:
    column: npt.NDArray[Any] = (
        file.read(columns=[name], use_threads=False).column(name).chunk(0).values.to_numpy(zero_copy_only=False)
    )
    return column
