"""Grey values to network input: one mean and standard deviation for a whole volume, never for one block."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from ..errors import VolumeError
from ..geometry import Box, Triple, triple

if TYPE_CHECKING:
    from torch import Tensor


_SMALL = 0.01
"""Below it, four places are too few for a standard deviation."""


class Normalisation(BaseModel):
    """Holds mean and standard deviation of a volume's grey values, in the units in which they are stored.

    Args:
        mean: Mean of the grey values.
        deviation: Standard deviation of the grey values.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    mean: float = Field(allow_inf_nan=False)
    deviation: float = Field(gt=0, allow_inf_nan=False)

    def apply(self, grey: Tensor) -> Tensor:
        """Scales grey values of any shape to float32 of mean 0 and standard deviation 1, on their device.

        Values that are infinite or not a number become 0, the mean: a network would spread them over all that it sees.
        """
        scaled = (grey.float() - self.mean).mul_(1 / self.deviation)
        return scaled.nan_to_num_(0.0, 0.0, 0.0) if grey.is_floating_point() else scaled


def as_tensor(grey: NDArray[np.generic]) -> Tensor:
    """Returns grey values as a contiguous tensor: bytes as bytes, all else as float32."""
    import torch

    with np.errstate(over="ignore"):  # a value too large for float32 is infinite there, and treated as such
        narrow = grey if grey.dtype == np.uint8 else grey.astype(np.float32)
    return torch.from_numpy(np.ascontiguousarray(narrow))


def holds_image(grey: NDArray[np.generic], fill_value: float | None) -> NDArray[np.bool_]:
    """Finds where grey values are an image: finite in float32, and not the fill value if there is one."""
    image = np.ones(grey.shape, np.bool_)
    if np.issubdtype(grey.dtype, np.floating):
        image = np.asarray(np.abs(grey) <= np.finfo(np.float32).max)  # false of what is not a number, too
    return image if fill_value is None else image & (grey != fill_value)


def estimate_normalisation(
    read: Callable[[Box], NDArray[np.generic]],
    shape: Triple,
    *,
    fill_value: float | None = None,
    inside: Callable[[Box], NDArray[np.bool_]] | None = None,
    samples: int = 64,
    most_samples: int = 2048,
    sample_shape: Triple = (4, 64, 64),
    seed: int = 0,
) -> Normalisation:
    """Estimates statistics from boxes drawn evenly over the whole of a volume, the same for the same seed.

    Values that are infinite or not a number do not count. Boxes are drawn until enough of their voxels hold image: an
    eighth of all that the first `samples` boxes have.

    Args:
        read: gives the grey values of a box inside the volume.
        shape: the volume's shape (Z, Y, X), in voxels.
        fill_value: grey value of voxels that hold no image, left out; None where every voxel counts.
        inside: gives for a box which of its voxels count (bool, the box's shape); None where all do.
        samples: least number of boxes that are read.
        most_samples: most boxes that are read, where few voxels hold image.
        sample_shape: their shape, in voxels.
        seed: seed of the boxes' places.

    Raises:
        VolumeError: fewer voxels than a box has were found that hold image, or all have one value, so that there is
            nothing to normalise by.
    """
    extent = triple([min(s, v) for s, v in zip(sample_shape, shape, strict=True)])
    least = math.prod(extent)
    random = np.random.default_rng(seed)
    drawn, count, total, squares = 0, 0, 0.0, 0.0
    while drawn < samples or (count < samples * least // 8 and drawn < most_samples):
        start = triple([int(random.integers(0, v - e + 1)) for v, e in zip(shape, extent, strict=True)])
        drawn += 1
        grey = _image(read, Box.of_shape(extent, start), fill_value, inside)
        count += grey.size
        total += float(grey.sum())
        squares += float(np.square(grey).sum())
    if count < least:
        raise VolumeError(
            f"Grey values are normalised by at least {least:,} voxels that hold image; {drawn:,} boxes of"
            f" {list(extent)} voxels, drawn all over the volume, have {count:,} that are not"
            f" {_left_out(fill_value, inside)}. State the mean and deviation in the recipe, or check the volume and the"
            " mask."
        )
    mean = total / count
    variance = squares / count - mean * mean
    if not math.isfinite(variance):
        raise VolumeError(f"Grey values must fit into float32; their mean is {mean:g}. Rescale them.")
    if variance <= 1e-12 * max(mean * mean, 1e-12):
        raise VolumeError(
            f"Grey values must vary to be normalised: all {count:,} sampled voxels that are not"
            f" {_left_out(fill_value, inside)} have the value {mean:g}. State the mean and deviation in the recipe, or"
            " check the volume."
        )
    deviation = math.sqrt(variance)
    digits = 4 if deviation >= _SMALL else 4 - math.floor(math.log10(deviation))
    return Normalisation(mean=round(mean, digits), deviation=round(deviation, digits))


def _image(
    read: Callable[[Box], NDArray[np.generic]],
    box: Box,
    fill_value: float | None,
    inside: Callable[[Box], NDArray[np.bool_]] | None,
) -> NDArray[np.float64]:
    """The grey values of those voxels of a box that hold image; outside a mask nothing is read."""
    counted = None if inside is None else inside(box)
    if counted is not None and not counted.any():
        return np.empty(0)
    grey = read(box)
    image = holds_image(grey, fill_value)
    return grey[image if counted is None else image & counted].astype(np.float64)


def _left_out(fill_value: float | None, inside: object) -> str:
    parts = ["infinite or no number"] + ([] if fill_value is None else [f"fill value {fill_value:g}"])
    return " or ".join([*parts, *([] if inside is None else ["outside the mask"])])
