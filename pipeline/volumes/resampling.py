"""Values of one volume at the voxels of another one, whatever their sizes: each from the voxel that lies nearest."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ..errors import VolumeError
from ..geometry import Box, triple
from .spec import Nanometres
from .volume import Volume

_TIE = 1e-6
"""Of a voxel: a centre so close to the middle between two voxels belongs to the later one, however it was rounded."""


def read_nearest_voxels(values: Volume, volume: Volume, box: Box) -> npt.NDArray[np.generic]:
    """Returns the values of a volume at the voxels of a box of another one, by physical position; no channels.

    The result at a voxel depends on its place alone, not on the box. Beyond its ends a volume goes on for one of its
    voxels as it ends; then there is 0.

    Args:
        values: what is read.
        volume: whose voxels are asked for.
        box: of them.

    Raises:
        StorageError: the storage failed.
    """
    nearest = [_nearest(values, volume, axis, start, stop) for axis, (start, stop) in enumerate(_ends(box))]
    places = [np.clip(place, 0, length - 1) for place, length in zip(nearest, values.spec.shape, strict=True)]
    read = Box(triple([int(place[0]) for place in places]), triple([int(place[-1]) + 1 for place in places]))
    z, y, x = (place - start for place, start in zip(places, read.start, strict=True))
    found = values.read(read)[np.ix_(z, y, x)]
    for axis, (place, length) in enumerate(zip(nearest, values.spec.shape, strict=True)):
        beyond = (place < -1) | (place > length)
        if beyond.any():
            np.moveaxis(found, axis, 0)[beyond] = 0
    return found


def voxels_read(values: Volume, volume: Volume, shape: tuple[int, int, int]) -> int:
    """Counts the voxels that `read_nearest_voxels` reads for a box of a shape, about."""
    ratios = zip(shape, volume.spec.voxel_size, values.spec.voxel_size, strict=True)
    z, y, x = (int(length * theirs / ours) + 2 for length, theirs, ours in ratios)
    return z * y * x


def check_covers(mask: Volume, volume: Volume, box: Box) -> None:
    """Makes sure that a mask says something about every voxel of a box of a volume, to one of its own voxels.

    Raises:
        VolumeError: it has channels, or ends before the box does; the message names both.
    """
    if mask.spec.channels is not None:
        raise VolumeError(
            f"A mask has the axes z, y, x; {mask.path} has {mask.spec.channels} channels besides. Take one of them:"
            " channel = 0"
        )
    for axis, (start, stop) in enumerate(_ends(box)):
        first, last = (int(_nearest(mask, volume, axis, voxel, voxel + 1)[0]) for voxel in (start, stop - 1))
        if first < -1 or last > mask.spec.shape[axis]:
            lies, wanted = _extent(mask, mask.spec.box, axis), _extent(volume, box, axis)
            raise VolumeError(
                f"A mask covers all that is computed; along {'zyx'[axis]} {mask.path} lies from {lies[0]:g} to"
                f" {lies[1]:g} nm, and {box} of {volume.path} from {wanted[0]:g} to {wanted[1]:g} nm. Correct the"
                " metadata of the wrong one, beside its path: voxel_size, offset_nm; or compute a smaller box."
            )


def _ends(box: Box) -> list[tuple[int, int]]:
    return list(zip(box.start, box.stop, strict=True))


def _nearest(values: Volume, volume: Volume, axis: int, start: int, stop: int) -> npt.NDArray[np.int64]:
    """Along an axis, the voxels nearest to those of another volume; they may lie beyond the ends."""
    size = volume.spec.voxel_size[axis]
    centres = volume.first_centre[axis] + np.arange(start, stop) * size
    steps = (centres - values.first_centre[axis]) / values.spec.voxel_size[axis]
    nearest: npt.NDArray[np.int64] = np.floor(steps + 0.5 + _TIE).astype(np.int64)
    return nearest


def _extent(volume: Volume, box: Box, axis: int) -> tuple[float, float]:
    """Where a box begins and ends along an axis, in nm."""
    size = volume.spec.voxel_size[axis]
    lower = volume.first_centre[axis] - size / 2
    return lower + box.start[axis] * size, lower + box.stop[axis] * size


def coarse_centre(volume: Volume, factors: tuple[int, int, int]) -> Nanometres:
    """Returns the centre, in nm, of the first of the cells that so many voxels of a volume along each axis make up."""
    lengths = zip(volume.first_centre, volume.spec.voxel_size, factors, strict=True)
    z, y, x = (first + (factor - 1) / 2 * size for first, size, factor in lengths)
    return z, y, x
