"""Stored arrays behind one face, whatever reads them, and any of them in another order of axes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

Where = tuple[slice, ...]


class StoredArray(Protocol):
    """Stands for an array in storage; indices count from 0 along every axis.

    Attributes:
        shape: of the array.
        dtype: name of a numpy type.
        fill_value: what is read where nothing was ever written.
        chunk, shard: units of reading and of writing.
    """

    @property
    def shape(self) -> tuple[int, ...]: ...
    @property
    def dtype(self) -> str: ...
    @property
    def fill_value(self) -> float: ...
    @property
    def chunk(self) -> tuple[int, ...]: ...
    @property
    def shard(self) -> tuple[int, ...]: ...

    def read(self, where: Where) -> np.ndarray:
        """Returns the voxels of a box, in C order."""

    def write(self, where: Where, voxels: np.ndarray) -> None:
        """Put voxels into a box."""

    def arranged(self, order: Sequence[int], indices: Sequence[int]) -> StoredArray:
        """Returns the array with its axes in another order, of which the first are taken at one index each."""


class TensorStoreArray:
    """Reads and writes an array by TensorStore."""

    def __init__(self, store: Any) -> None:
        import tensorstore as ts

        self._view = store[ts.d[:].translate_to[0]] if store.rank else store

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self._view.shape)

    @property
    def dtype(self) -> str:
        return str(self._view.dtype.name)

    @property
    def fill_value(self) -> float:
        fill = self._view.fill_value
        return 0 if fill is None else np.asarray(fill).item()

    @property
    def chunk(self) -> tuple[int, ...]:
        return tuple(self._view.chunk_layout.read_chunk.shape)

    @property
    def shard(self) -> tuple[int, ...]:
        return tuple(self._view.chunk_layout.write_chunk.shape)

    def read(self, where: Where) -> np.ndarray:
        return np.asarray(self._view[where].read(order="C").result())

    def write(self, where: Where, voxels: np.ndarray) -> None:
        self._view[where].write(voxels).result()

    def arranged(self, order: Sequence[int], indices: Sequence[int]) -> TensorStoreArray:
        import tensorstore as ts

        view = self._view[ts.d[list(order)].transpose[:]]
        for index in indices:
            view = view[index]
        return TensorStoreArray(view)


@dataclass(frozen=True)
class ReadArray:
    """Reads an array by a function; nothing is written.

    Args:
        shape, dtype, fill_value, chunk, shard: see `StoredArray`; the type in native byte order.
        reader: the voxels of a box, as many axes as the shape has.
    """

    shape: tuple[int, ...]
    dtype: str
    fill_value: float
    chunk: tuple[int, ...]
    shard: tuple[int, ...]
    reader: Callable[[Where], np.ndarray]

    def read(self, where: Where) -> np.ndarray:
        return np.ascontiguousarray(self.reader(where), dtype=self.dtype)

    def write(self, where: Where, voxels: np.ndarray) -> None:
        raise NotImplementedError("it is read only")

    def arranged(self, order: Sequence[int], indices: Sequence[int]) -> ReadArray:
        taken = [slice(i, i + 1) for i in indices]

        def read(where: Where) -> np.ndarray:
            by_axis = dict(zip(order, (*taken, *where), strict=True))
            voxels = np.transpose(self.reader(tuple(by_axis[axis] for axis in range(len(order)))), order)
            return voxels.reshape(voxels.shape[len(taken) :])

        def of(lengths: tuple[int, ...]) -> tuple[int, ...]:
            return tuple(lengths[axis] for axis in order)[len(taken) :]

        return ReadArray(of(self.shape), self.dtype, self.fill_value, of(self.chunk), of(self.shard), read)


@dataclass(frozen=True)
class Opened:
    """Holds an array with what its store says of its axes.

    Args:
        array: in its own order.
        labels: names of its axes, empty where they have none.
        units: nm an index along each axis, None where the format itself does not state them.
        origin: index of the first voxel of the format's own frame.
        remarks: what a user must be told of how it is read.
    """

    array: StoredArray
    labels: tuple[str, ...] = ()
    units: tuple[float | None, ...] = ()
    origin: tuple[int, ...] = ()
    remarks: tuple[str, ...] = ()
