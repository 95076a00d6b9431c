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
    """Mean and standard deviation of a volume's grey values, in the units in which they are stored."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    mean: float = Field(allow_inf_nan=False)
    deviation: float = Field(gt=0, allow_inf_nan=False)

    def apply(self, grey: Tensor) -> Tensor:
        """Grey values of any shape as float32 of mean 0 and standard deviation 1, on the device where they are.

        What is infinite or not a number becomes 0, the mean: a network would spread it over all that it sees.
        """
        scaled = (grey.float() - self.mean).mul_(1 / self.deviation)
        return scaled.nan_to_num_(0.0, 0.0, 0.0) if grey.is_floating_point() else scaled


def as_tensor(grey: NDArray[np.generic]) -> Tensor:
    """Grey values as a contiguous tensor: bytes as bytes, all else as float32."""
    import torch

    with np.errstate(over="ignore"):  # what is too large for float32 is infinite there, and treated as such
        narrow = grey if grey.dtype == np.uint8 else grey.astype(np.float32)
    return torch.from_numpy(np.ascontiguousarray(narrow))


def holds_image(grey: NDArray[np.generic], fill_value: float | None) -> NDArray[np.bool_]:
    """Where grey values are an image: finite in float32, and not the fill value if there is one."""
    image = np.ones(grey.shape, np.bool_)
    if np.issubdtype(grey.dtype, np.floating):
        image = np.asarray(np.abs(grey) <= np.finfo(np.float32).max)  # false of what is not a number, too
    return image if fill_value is None else image & (grey != fill_value)


def estimate_normalisation(
    read: Callable[[Box], NDArray[np.generic]],
    shape: Triple,
    *,
    fill_value: float | None = None,
    samples: int = 64,
    sample_shape: Triple = (4, 64, 64),
    seed: int = 0,
) -> Normalisation:
    """Statistics of a volume from boxes drawn evenly over the whole of it, the same for the same seed.

    Values that are infinite or not a number do not count.

    Args:
        read: gives the grey values of a box inside the volume.
        shape: the volume's shape (Z, Y, X), in voxels.
        fill_value: grey value of voxels that hold no image, left out; None where every voxel counts.
        samples: how many boxes are read.
        sample_shape: their shape, in voxels.
        seed: of the boxes' places.

    Raises:
        VolumeError: the sampled voxels all have one value, so that there is nothing to normalise by.
    """
    extent = triple([min(s, v) for s, v in zip(sample_shape, shape, strict=True)])
    random = np.random.default_rng(seed)
    count, total, squares = 0, 0.0, 0.0
    for _ in range(samples):
        start = triple([int(random.integers(0, v - e + 1)) for v, e in zip(shape, extent, strict=True)])
        found = read(Box.of_shape(extent, start))
        grey = found[holds_image(found, fill_value)].astype(np.float64)
        count += grey.size
        total += float(grey.sum())
        squares += float(np.square(grey).sum())
    mean = total / max(count, 1)
    variance = squares / max(count, 1) - mean * mean
    if not math.isfinite(variance):
        raise VolumeError(f"Grey values must fit into float32; their mean is {mean:g}. Rescale them.")
    if variance <= 1e-12 * max(mean * mean, 1e-12):
        raise VolumeError(
            f"Grey values must vary to be normalised: all {count} sampled voxels that are finite and not fill value "
            f"{fill_value} have the value {mean:g}. State the mean and deviation in the recipe, or check the volume."
        )
    deviation = math.sqrt(variance)
    digits = 4 if deviation >= _SMALL else 4 - math.floor(math.log10(deviation))
    return Normalisation(mean=round(mean, digits), deviation=round(deviation, digits))
