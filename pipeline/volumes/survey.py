"""A look at a few places of a volume, to tell what would otherwise be noticed by its result."""

from __future__ import annotations

import itertools

import numpy as np

from ..geometry import Box, triple
from .volume import Volume

_PLACES = (0.5, 0.1, 0.9)
"""Where along each axis a volume is looked at, as a share of its length: in the middle and in eight corners."""
_FEW = 1000  # pairs of voxels, of which nothing is said
_OF_AN_IMAGE = 0.4  # of neighbouring voxels of an image a smaller part is equal; of labels, nine tenths and more are
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


def label_survey(volume: Volume) -> tuple[str, ...]:
    """Words a remark where labels look like an image: most voxels have another value than the voxel before them.

    Raises:
        StorageError: the storage failed.
    """
    if volume.spec.channels is not None:
        return ()
    alike = pairs = 0
    for place in [*itertools.product(_PLACES[1:], repeat=3), (_PLACES[0],) * 3]:
        voxels = volume.read(_box(volume, place))
        for here, before in ((voxels[:, :, 1:], voxels[:, :, :-1]), (voxels[:, 1:], voxels[:, :-1])):
            labelled = (here != 0) & (before != 0)
            pairs += int(np.count_nonzero(labelled))
            alike += int(np.count_nonzero(labelled & (here == before)))
    if pairs < _FEW or alike > _OF_AN_IMAGE * pairs:
        return ()
    return (
        f"{volume.path} looks like an image, and not like labels: of {pairs:,} pairs of neighbouring voxels only"
        f" {alike / pairs:.0%} have one label. Is it the right volume?",
    )


def _box(volume: Volume, place: tuple[float, ...]) -> Box:
    """A small box at a place, inside one chunk as far as that goes."""
    shape, chunk = volume.spec.shape, volume.spec.chunk
    extent = triple([min(n, c, _LONGEST) for n, c in zip(shape, chunk, strict=True)])
    start = [min(int(n * at) // c * c, n - e) for n, at, c, e in zip(shape, place, chunk, extent, strict=True)]
    return Box.of_shape(extent, start)
