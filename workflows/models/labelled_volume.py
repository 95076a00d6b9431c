"""Raw data and labels in memory, for training: known to belong together, every label known or masked."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...pipeline.errors import VolumeError
from ...pipeline.labels import object_ids, unknown_voxels
from ...pipeline.labels import unknown_labels as marked_unknown
from ...pipeline.networks.normalisation import holds_image
from ...pipeline.volumes.spec import Nanometres
from ..conversion.options import SourceOptions
from ..conversion.sources import Source, open_source

SAME_SIZE = 0.05
"""Share by which the voxel sizes of volumes may differ that go together."""


@dataclass(frozen=True)
class LabelledVolume:
    """Holds raw data and labels of one box of tissue.

    Args:
        raw: grey values (Z, Y, X).
        labels: objects (Z, Y, X), unsigned, 0 for background.
        mask: where the labels are known (Z, Y, X).
        fill_value: grey value of voxels that hold no image.
    """

    raw: NDArray[np.generic]
    labels: NDArray[np.unsignedinteger[Any]]
    mask: NDArray[np.bool_]
    fill_value: float


def read_labelled(
    raw: str, labels: str, mask: str | None, voxel_size: Nanometres, tell: Callable[[str], None]
) -> LabelledVolume:
    """Read raw data, labels and mask, each a TIFF, HDF5 file, folder of sections or volume.

    Labels that mark what is unknown (below 0, the largest ids), and labels of voxels without a finite grey value,
    are masked.

    Args:
        raw, labels, mask: paths or URLs; without a mask all labels are known.
        voxel_size: nm, z y x, of whatever does not say its own.
        tell: told what a user must know of them.

    Raises:
        VolumeError: a volume cannot be read, or they do not lie in one frame.
        StorageError: reading failed.
    """
    image, names = _read(raw, voxel_size), _read(labels, voxel_size)
    inside = None if mask is None else _read(mask, voxel_size)
    for one in (image, names, *([inside] if inside else [])):
        _check_frame(image, one, voxel_size, tell)
        for remark in one.source.remarks:
            tell(remark)
    ids = object_ids(names.voxels, f"label volume {labels}")
    known = np.ones(ids.shape, np.bool_) if inside is None else inside.voxels != 0
    unknown = marked_unknown(names.voxels)
    if unknown is not None and unknown.any():
        tell(f"{labels}: {unknown_voxels(names.voxels):,} voxels are labelled below 0 or with a largest id: unknown.")
        known &= ~unknown
    if np.issubdtype(image.voxels.dtype, np.floating):
        finite = holds_image(image.voxels, None)
        if not finite.all():
            tell(f"{raw}: {finite.size - np.count_nonzero(finite):,} voxels are infinite or not a number: unknown.")
            known &= finite
    return LabelledVolume(image.voxels, ids, known, image.source.fill_value)


@dataclass(frozen=True)
class _Read:
    """A whole volume in memory, and where it came from."""

    voxels: NDArray[np.generic]
    source: Source


def _read(path: str, voxel_size: Nanometres) -> _Read:
    with open_source(path, SourceOptions(default_voxel_size=voxel_size)) as source:
        if source.channels is not None:
            raise VolumeError(
                f"Volumes to train on have the axes z, y, x; {path} has {source.channels} channels besides. Take one: "
                f"petavox convert {path} NEW.zarr --channel 0"
            )
        return _Read(source.read(source.box), source)


def _check_frame(image: _Read, other: _Read, voxel_size: Nanometres, tell: Callable[[str], None]) -> None:
    """Make sure that a volume has the shape and place of the raw data and the voxel size of the recipe.

    Raises:
        VolumeError: it has not.
    """
    one, two = image.source, other.source
    if one.shape != two.shape:
        raise VolumeError(
            f"Raw data, labels and mask must have one shape: {one.path} has {one.shape} voxels (z, y, x), {two.path} "
            f"has {two.shape}. Crop them to the same box: petavox convert … --box"
        )
    if any(abs(a - b) > SAME_SIZE * b for a, b in zip(two.voxel_size, voxel_size, strict=True)):
        raise VolumeError(
            f"The voxel size of a recipe is that of its volumes: it says {list(voxel_size)} nm (z, y, x), {two.path} "
            f"has {list(two.voxel_size)}. Correct the one that is wrong; a volume's: petavox convert … --voxel-size"
        )
    apart = [abs(a - b) / s for a, b, s in zip(one.translation, two.translation, voxel_size, strict=True)]
    if max(apart) < 0.5:
        return
    said = f"{one.path} begins at {list(one.translation)} nm (z, y, x), {two.path} at {list(two.translation)}"
    if any(one.translation) and any(two.translation):
        raise VolumeError(f"Raw data, labels and mask must lie in one place: {said}. Correct the one that is wrong.")
    tell(f"{said}; they are taken to lie in one place.")
