"""The image of a block on the device, read slab by slab in a thread of its own while patches are already computed."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..geometry import Box, Triple, triple
from .device import Device
from .normalisation import as_tensor
from .patch_grid import mirrored

Grey = NDArray[np.generic]
Read = Callable[[Box], Grey]
Places = NDArray[np.int64]


class Image:
    """Holds grey values of a box that may reach outside the volume, where they are mirrored; patches are views of them.

    Args:
        span: the box.
        volume: shape of the volume, in voxels.
        device: where the image is kept.
        patches: the parts of the span that will be asked for.
        fill_value: grey value of voxels that hold no image; None where every voxel holds some.
    """

    def __init__(
        self, span: Box, volume: Triple, device: Device, patches: Sequence[Box], fill_value: float | None
    ) -> None:
        ends = zip(span.start, span.stop, volume, strict=True)
        self._span, self._device, self._fill_value = span, device, fill_value
        self._sources = [mirrored(start, stop, length) for start, stop, length in ends]
        self.box = Box(
            triple([int(places.min()) for places in self._sources]),
            triple([int(places.max()) + 1 for places in self._sources]),
        )
        self._cuts = [_cuts(span, patches, axis) for axis in (1, 2)]
        y, x = (len(cuts) - 1 for cuts in self._cuts)
        self._occupied = np.ones((span.shape[0], y, x), np.bool_)
        self._grey: Tensor | None = None
        self._coming: list[tuple[Box, Future[None]]] = []

    def patch(self, box: Box) -> Tensor:
        """Returns the grey values (Z, Y, X) of a patch, on the device: bytes as bytes, all else as float32.

        Raises:
            StorageError: and whatever else reading raised.
        """
        self._wait_for(box)
        assert self._grey is not None
        return self._grey[box.slices(self._span.start)]

    def holds_image(self, box: Box) -> bool:
        """Tells whether any voxel of a patch differs from the fill value."""
        self._wait_for(box)
        z, *yx = box.slices(self._span.start)
        y, x = (
            slice(int(np.searchsorted(cuts, part.start)), int(np.searchsorted(cuts, part.stop)))
            for cuts, part in zip(self._cuts, yx, strict=True)
        )
        return bool(self._occupied[z, y, x].any())

    def _wait_for(self, box: Box) -> None:
        start, stop = box.start[0] - self._span.start[0], box.stop[0] - self._span.start[0]
        last = int(self._sources[0][start:stop].max())
        while self._coming and self._coming[0][0].start[0] <= last:
            self._coming.pop(0)[1].result()

    def expect(self, slabs: list[tuple[Box, Future[None]]]) -> None:
        """Takes the parts of `box` that are being read, in order."""
        self._coming = slabs

    def receive(self, slab: Box, grey: Grey) -> None:
        """Puts a slab of `box` into every place that shows it."""
        with self._device.uploading():
            here = self._device.upload(as_tensor(grey))
            for axis in (1, 2):
                here = _along(here, self._sources[axis] - slab.start[axis], axis)
            if self._grey is None:
                self._grey = torch.empty(self._span.shape, dtype=here.dtype, device=here.device)
            for places, planes in _runs(self._sources[0], slab):
                shown = _along(here, planes - slab.start[0], 0)
                self._grey[places] = shown
                if self._fill_value is not None:
                    self._occupied[places] = self._parts_with_image(shown, self._fill_value)
            self._device.uploaded()

    def _parts_with_image(self, grey: Tensor, fill_value: float) -> NDArray[np.bool_]:
        """For each plane and each part between two cuts along y and x whether it holds any image."""
        seen, (y, x) = torch.ne(grey, _comparable(fill_value, grey)), self._cuts
        seen = torch.stack([seen[:, a:b].any(1) for a, b in itertools.pairwise(y)], 1)
        seen = torch.stack([seen[..., a:b].any(2) for a, b in itertools.pairwise(x)], 2)
        found: NDArray[np.bool_] = seen.cpu().numpy()
        return found


@contextlib.contextmanager
def reading(
    read: Read,
    volume: Triple,
    patches: Sequence[Box],
    depth: int,
    device: Device,
    fill_value: float | None = None,
) -> Iterator[Image]:
    """Returns an image that is being read.

    Args:
        read: gives the grey values (Z, Y, X) of a box inside the volume; called in another thread, for one slab after
            the other.
        volume: its shape, in voxels.
        patches: patches that will be asked for; they may reach outside the volume.
        depth: planes of a slab. With that of the volume's chunks no chunk is decoded twice.
        device: where the image is kept.
        fill_value: grey value of voxels that hold no image; None where every voxel holds some.
    """
    start = triple([min(box.start[axis] for box in patches) for axis in range(3)])
    stop = triple([max(box.stop[axis] for box in patches) for axis in range(3)])
    device.settle()  # memory of before is free for good, so that uploads may use it
    image = Image(Box(start, stop), volume, device, patches, fill_value)
    with ThreadPoolExecutor(1, thread_name_prefix="reading") as thread:
        try:
            image.expect([(slab, thread.submit(_read, read, slab, image)) for slab in image.box.slabs(depth)])
            yield image
        finally:
            thread.shutdown(wait=False, cancel_futures=True)


def _comparable(value: float, grey: Tensor) -> float:
    """A fill value in the type of grey values, where it has one, for comparing bytes as floats is slow."""
    return int(value) if grey.dtype == torch.uint8 and value in range(256) else value


def _read(read: Read, slab: Box, image: Image) -> None:
    image.receive(slab, read(slab))


def _cuts(span: Box, patches: Sequence[Box], axis: int) -> Places:
    """Where patches begin and end along an axis of the span: between two cuts, each patch has all or nothing."""
    ends = {end - span.start[axis] for box in patches for end in (box.start[axis], box.stop[axis])}
    return np.array(sorted(ends))


def _runs(sources: Places, slab: Box) -> Iterator[tuple[slice, Places]]:
    """The stretches of a span's planes that show planes of a slab, and which ones."""
    shown = np.flatnonzero((sources >= slab.start[0]) & (sources < slab.stop[0]))
    for run in np.split(shown, np.flatnonzero(np.diff(shown) > 1) + 1):
        if len(run):
            yield slice(int(run[0]), int(run[-1]) + 1), sources[run]


def _along(grey: Tensor, places: Places, axis: int) -> Tensor:
    """Some places along one axis: a view unless they are mirrored."""
    if (np.diff(places) == 1).all():
        return grey.narrow(axis, int(places[0]), len(places))
    return grey.index_select(axis, torch.from_numpy(places).to(grey.device))
