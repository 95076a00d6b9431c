"""The image of a block, read slab by slab in a thread of its own while what has come is already computed with."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from ..geometry import Box, Triple, triple
from .patch_grid import mirrored

Grey = NDArray[np.generic]
Read = Callable[[Box], Grey]


class Image:
    """Grey values around a block, mirrored where they would lie outside the volume; a patch waits for its own planes.

    Args:
        box: what is read, inside the volume.
        volume: its shape, in voxels.
        slabs: the parts of the box that are being read, in order, each with the grey values to come.
    """

    def __init__(self, box: Box, volume: Triple, slabs: list[tuple[Box, Future[Grey]]]) -> None:
        self._box, self._volume, self._coming = box, volume, slabs
        self._grey = np.empty(box.shape, slabs[0][1].result().dtype)

    def patch(self, box: Box) -> Grey:
        """The grey values (Z, Y, X) of a box that may reach outside the volume.

        Raises:
            StorageError: and whatever else reading raised.
        """
        places = [mirrored(a, b, n) for a, b, n in zip(box.start, box.stop, self._volume, strict=True)]
        grey = self._planes(int(places[0].max()))
        for axis, (place, start) in enumerate(zip(places, self._box.start, strict=True)):
            grey = _along(grey, place - start, axis)
        return grey

    def _planes(self, last: int) -> Grey:
        """The whole box, of which the planes up to one have been read."""
        while self._coming and self._coming[0][0].start[0] <= last:
            slab, grey = self._coming.pop(0)
            self._grey[slab.slices(self._box.start)] = grey.result()
        return self._grey


@contextlib.contextmanager
def reading(read: Read, volume: Triple, span: Box, depth: int) -> Iterator[Image]:
    """An image that is being read.

    Args:
        read: gives the grey values (Z, Y, X) of a box inside the volume; called in another thread, for one slab after
            the other.
        volume: its shape, in voxels.
        span: what is wanted; it may reach outside the volume.
        depth: planes of a slab. With that of the volume's chunks no chunk is decoded twice.
    """
    places = [mirrored(a, b, n) for a, b, n in zip(span.start, span.stop, volume, strict=True)]
    box = Box(triple([int(i.min()) for i in places]), triple([int(i.max()) + 1 for i in places]))
    with ThreadPoolExecutor(1, thread_name_prefix="reading") as thread:
        try:
            yield Image(box, volume, [(slab, thread.submit(read, slab)) for slab in box.slabs(depth)])
        finally:
            thread.shutdown(wait=False, cancel_futures=True)


def _along(grey: Grey, places: NDArray[np.int64], axis: int) -> Grey:
    """Some places along one axis: a view unless they are mirrored."""
    if (np.diff(places) == 1).all():
        return grey[(slice(None),) * axis + (slice(int(places[0]), int(places[-1]) + 1),)]
    return np.take(grey, places, axis)
