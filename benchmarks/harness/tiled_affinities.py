"""Affinities of any size from those of a small volume: mirrored again and again, so that no seam is a boundary."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy.ndimage import gaussian_filter

from petavox.pipeline.affinities.nearest import Channels, read_nearest
from petavox.pipeline.affinities.offsets import NEAREST
from petavox.pipeline.geometry import BlockGrid, Box, Triple
from petavox.pipeline.volumes import VolumeSpec, create_volume, default_chunks, open_volume

Grey = npt.NDArray[np.uint8]
BLOCK: Triple = (64, 512, 512)


def read(path: Path) -> Grey:
    """The nearest-neighbour affinities of a whole volume: (3, Z, Y, X) uint8."""
    volume = open_volume(path)
    channels = Channels.of_offsets(volume.spec.offsets or NEAREST)
    return read_nearest(volume.read, volume.spec.box, volume.spec.shape, channels, volume.path)


def smoothed(path: Path) -> Grey:
    """Affinities of a raw volume without a network: (3, Z, Y, X) uint8.

    Grey levels, smoothed and stretched; an edge has the smaller of its two ends. They give few and large supervoxels,
    as the affinities did on which the floors of the kernels were set.
    """
    volume = open_volume(path)
    grey = gaussian_filter(volume.read(volume.spec.box).astype(np.float32), (0, 1.5, 1.5))
    grey = np.clip(np.interp(grey, np.percentile(grey, [5, 70]), [0, 255]), 0, 255)
    edges = [np.minimum(grey, np.roll(grey, 1, axis=axis)) * (0.8 if axis == 0 else 1) for axis in range(3)]
    return np.rint(edges).astype(np.uint8)


def mirrored(source: Grey, box: Box) -> Grey:
    """A box of the endless volume that mirroring makes of some affinities: (3, Z, Y, X) uint8.

    The edge through a seam, between a voxel and its own image, has the affinity of the last edge before it. Seams lie
    a third of the source off the origin, so that blocks of the source's shape are not cut along them.
    """
    result = np.empty((3, *box.shape), dtype=np.uint8)
    for channel in range(3):
        places = []
        for axis, n in enumerate(source.shape[1:]):
            i = (np.arange(box.start[axis], box.stop[axis]) + n // 3) % (2 * n)
            voxel, edge = np.minimum(i, 2 * n - 1 - i), np.clip(np.minimum(i, 2 * n - i), 1, n - 1)
            places.append(edge if axis == channel else voxel)
        result[channel] = source[channel][np.ix_(*places)]
    return result


def tiled(path: Path, raw: Path | None, shape: Triple) -> Grey:
    """Affinities, or smoothed raw data if there are any, mirrored to a shape, in memory."""
    return mirrored(read(path) if raw is None else smoothed(raw), Box.of_shape(shape))


def write_tiled(path: Path, destination: Path, shape: Triple, block: Triple = BLOCK) -> None:
    """Store the affinities of a volume, mirrored to a shape; memory is that of the volume and one block."""
    source, spec = read(path), open_volume(path).spec
    chunk, shard = default_chunks(block, shape)
    large = VolumeSpec(shape, "uint8", spec.voxel_size, channels=3, offsets=NEAREST, chunk=chunk, shard=shard)
    volume = create_volume(destination, large)
    grid = BlockGrid(shape, block)
    for index in grid.indices():
        volume.write(grid.box(index), mirrored(source, grid.box(index)))
