"""A look at a few places of a volume, to tell what would otherwise be noticed by its result."""

from __future__ import annotations

import itertools

import numpy as np

from ..geometry import Box, triple
from .volume import Volume

_PLACES = (0.5, 0.1, 0.9)
"""Where along each axis a volume is looked at, as a share of its length: in the middle and in eight corners."""
_LONGEST = 32
"""Voxels along each axis that are read at a place."""


def survey(volume: Volume) -> tuple[str, ...]:
    """Words remarks on a volume's values; only nine places of it are read, of several channels the first.

    Raises:
        StorageError: the storage failed.
    """
    channel = None if volume.spec.channels is None else slice(0, 1)
    corners = [*itertools.product(_PLACES[1:], repeat=3), (_PLACES[0],) * 3]
    voxels = np.concatenate([volume.read(box, channel).ravel() for box in {_box(volume, place) for place in corners}])
    remarks = []
    fill = volume.spec.fill_value
    if (voxels == fill).all() or (fill != fill and np.isnan(voxels).all()):
        remarks.append(
            f"{volume.path}: all {len(corners)} places that were looked at hold nothing but the fill value {fill:g}. "
            "Is it the right volume, and are its chunks there?"
        )
    elif voxels.dtype.kind == "f" and not np.isfinite(voxels).all():
        share = 1 - np.count_nonzero(np.isfinite(voxels)) / voxels.size
        remarks.append(f"{volume.path}: {share:.1%} of the voxels that were looked at are infinite or not a number.")
    return tuple(remarks)


def _box(volume: Volume, place: tuple[float, ...]) -> Box:
    """A small box at a place, inside one chunk as far as that goes."""
    shape, chunk = volume.spec.shape, volume.spec.chunk
    extent = triple([min(n, c, _LONGEST) for n, c in zip(shape, chunk, strict=True)])
    start = [min(int(n * at) // c * c, n - e) for n, at, c, e in zip(shape, place, chunk, extent, strict=True)]
    return Box.of_shape(extent, start)
