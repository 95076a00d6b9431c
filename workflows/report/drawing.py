"""Pictures of a volume: three orthogonal planes through one voxel, as grey levels or coloured segments.

1. `View.around` chooses a bounded window and the size of a picture's pixel, so that nm are the same on every axis.
2. `View.panes` reads the three planes of a volume and enlarges them to pixels.
3. `grey` and `overlay` colour panes; `View.compose` lays them out: xy, beside it zy, below it xz.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ...pipeline.geometry import Box, Triple, triple

Pixels = npt.NDArray[np.uint8]
Pane = npt.NDArray[Any]
Read = Callable[[Box], npt.NDArray[Any]]

WIDTH, DEPTH = 512, 224  # pixels of the window in the section, and across sections
GAP = 4  # pixels between panes
TINT = 0.4  # share of a segment's colour over the grey levels
_RGB = 2  # PNG: three colours a pixel
_SUB = 1  # PNG: each byte of a row is stored less that of the pixel before it


@dataclass(frozen=True)
class View:
    """Describes a window on a volume.

    Args:
        box: the window, voxels.
        centre: the voxel through which all three planes go.
        voxel_size: nm, z y x.
        pixel: nm of a picture's pixel.
    """

    box: Box
    centre: Triple
    voxel_size: tuple[float, float, float]
    pixel: float

    @classmethod
    def around(cls, centre: Triple, shape: Triple, voxel_size: tuple[float, float, float]) -> View:
        """Returns the window around a voxel, as large as WIDTH and DEPTH allow at one pixel for the finest voxel.

        A volume smaller than the window is enlarged by a whole number.
        """
        finest = min(voxel_size)
        most = [max(1, int(n * finest / size)) for n, size in zip((DEPTH, WIDTH, WIDTH), voxel_size, strict=True)]
        extent = [min(n, whole) for n, whole in zip(most, shape, strict=True)]
        start = [min(max(0, c - n // 2), whole - n) for c, n, whole in zip(centre, extent, shape, strict=True)]
        longest = max(n * size for n, size in zip(extent, voxel_size, strict=True))
        return cls(Box.of_shape(extent, start), centre, voxel_size, finest / max(1, int(WIDTH * finest / longest)))

    @property
    def planes(self) -> tuple[Box, Box, Box]:
        """Returns the planes xy, zy and xz."""

        def through(axis: int) -> Box:
            start, stop = list(self.box.start), list(self.box.stop)
            start[axis], stop[axis] = self.centre[axis], self.centre[axis] + 1
            return Box(triple(start), triple(stop))

        return through(0), through(2), through(1)

    @property
    def pixels(self) -> Triple:
        """Counts the pixels of the window along z, y and x."""
        sizes = zip(self.box.shape, self.voxel_size, strict=True)
        return triple([max(1, round(n * size / self.pixel)) for n, size in sizes])

    def panes(self, read: Read) -> tuple[Pane, Pane, Pane]:
        """Reads planes of a volume as pixels: xy (y, x), zy (y, z) and xz (z, x), channels last if there are any.

        Args:
            read: gives the voxels of a box, (Z, Y, X) or (C, Z, Y, X).
        """
        xy, zy, xz = (self._enlarge(read(plane)) for plane in self.planes)
        return xy[0], zy[:, :, 0].swapaxes(0, 1), xz[:, 0]

    def compose(self, panes: Sequence[Pixels]) -> Pixels:
        """Returns one RGB picture of three RGB panes, white between them."""
        xy, zy, xz = panes
        height, width = xy.shape[0] + GAP + xz.shape[0], xy.shape[1] + GAP + zy.shape[1]
        picture = np.full((height, width, 3), 255, np.uint8)
        picture[: xy.shape[0], : xy.shape[1]] = xy
        picture[: zy.shape[0], xy.shape[1] + GAP :] = zy
        picture[xy.shape[0] + GAP :, : xz.shape[1]] = xz
        return picture

    def _enlarge(self, plane: Pane) -> Pane:
        """Nearest voxel of every pixel; axes z, y, x and channels last."""
        image = np.moveaxis(plane, 0, -1) if plane.ndim == 4 else plane
        for axis, count in enumerate(self.pixels):
            if image.shape[axis] > 1:
                nearest = ((np.arange(count) + 0.5) * image.shape[axis] / count).astype(np.int64)
                image = image.take(nearest, axis)
        return image


def grey(panes: Sequence[Pane]) -> list[Pixels]:
    """Stretches grey levels so that half a percent of the voxels is black and as much white; no number is 0."""
    panes = [np.where(np.isfinite(pane), pane, 0) for pane in panes]
    low, high = np.percentile(np.concatenate([pane.ravel() for pane in panes]), (0.5, 99.5))
    scale = 255 / max(float(high - low), 1e-9)
    return [_rgb(np.clip((pane.astype(np.float32) - low) * scale, 0, 255)) for pane in panes]


def overlay(under: Sequence[Pixels], labels: Sequence[Pane]) -> list[Pixels]:
    """Draws segments as colours over grey levels, outlines in full colour; label 0 shows grey levels alone."""
    return [_tint(image, pane) for image, pane in zip(under, labels, strict=True)]


def colours(ids: npt.NDArray[np.integer]) -> npt.NDArray[np.float32]:
    """Returns a colour (N, 3) of 0…255 for each id, the same in every picture, from a hash of the id."""
    from matplotlib.colors import hsv_to_rgb

    mixed = ids.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    mixed ^= mixed >> np.uint64(32)
    mixed *= np.uint64(0xD6E8FEB86659FD93)
    parts = (mixed[:, None] >> np.array([16, 32, 48], np.uint64)) & np.uint64(0xFFFF)
    hue, saturation, value = (parts / 0xFFFF).T
    rgb: npt.NDArray[np.float32] = hsv_to_rgb(np.stack([hue, 0.6 + 0.4 * saturation, 0.8 + 0.2 * value], -1)) * 255
    return rgb


def png(picture: Pixels) -> bytes:
    """Encodes a picture (Y, X, 3) as PNG by the standard library: a report must not fail for lack of a codec."""
    height, width, _ = picture.shape
    values = picture.reshape(height, 3 * width)
    rows = np.full((height, 1 + 3 * width), _SUB, np.uint8)
    rows[:, 1:] = values
    rows[:, 4:] -= values[:, :-3]
    header = struct.pack(">IIBBBBB", width, height, 8, _RGB, 0, 0, 0)
    chunks = (b"IHDR", header), (b"IDAT", zlib.compress(rows.tobytes(), 6)), (b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(_png_chunk(kind, data) for kind, data in chunks)


def _png_chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _tint(image: Pixels, labels: Pane) -> Pixels:
    ids, place = np.unique(labels, return_inverse=True)
    colour = colours(ids)[place.reshape(labels.shape)]
    outline = np.zeros(labels.shape, bool)
    outline[:-1] |= labels[:-1] != labels[1:]
    outline[:, :-1] |= labels[:, :-1] != labels[:, 1:]
    share = np.where(labels == 0, 0.0, np.where(outline, 1.0, TINT))[..., None]
    mixed: Pixels = np.round(image * (1 - share) + colour * share).astype(np.uint8)
    return mixed


def _rgb(levels: npt.NDArray[np.floating]) -> Pixels:
    return np.repeat(np.round(levels).astype(np.uint8)[..., None], 3, axis=-1)
