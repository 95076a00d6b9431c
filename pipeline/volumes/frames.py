"""Frames: whether volumes have the same voxels in the same places, and where one lies in another."""

from __future__ import annotations

from ..errors import VolumeError
from ..geometry import Triple, triple
from .framed import TOLERANCE, Framed, unlike
from .voxel_sizes import check_same_voxel_size


def check_same_frame(one: Framed, other: Framed) -> None:
    """Make sure that two volumes have the same voxels in the same places, whatever is in them.

    Raises:
        VolumeError: shape, voxel size or position differ; the message names both.
    """
    if one.spec.shape != other.spec.shape:
        raise unlike("shape, in voxels", one, one.spec.shape, other, other.spec.shape)
    check_same_voxel_size(one, other)
    if any(abs(step) > TOLERANCE for step in _steps(one, other)):
        raise unlike("position of the first voxel, in nm", one, one.spec.translation, other, other.spec.translation)


def check_mask(mask: Framed, volume: Framed) -> None:
    """Make sure that a mask has one value for every voxel of a volume.

    Raises:
        VolumeError: it has channels, or another frame; the message names both.
    """
    if mask.spec.channels is not None:
        raise VolumeError(
            f"A mask has the axes z, y, x; {mask.path} has {mask.spec.channels} channels besides. Take one out of it."
        )
    check_same_frame(mask, volume)


def place_in(part: Framed, whole: Framed) -> Triple:
    """Returns where the first voxel of a volume lies in another one, by the positions of both in nm: voxels z, y, x.

    Raises:
        VolumeError: it lies between voxels.
    """
    steps = _steps(part, whole)
    if any(abs(step - round(step)) > TOLERANCE for step in steps):
        raise VolumeError(
            f"Volumes that go together must share one grid of voxels; by its metadata {part.path} begins"
            f" {tuple(round(step, 3) for step in steps)} voxels (z, y, x) into {whole.path}. Give the offset."
        )
    return triple([round(step) for step in steps])


def _steps(part: Framed, whole: Framed) -> list[float]:
    """Voxels from the first one of a volume to that of another."""
    positions = zip(part.spec.translation, whole.spec.translation, whole.spec.voxel_size, strict=True)
    return [(there - here) / size for there, here, size in positions]
