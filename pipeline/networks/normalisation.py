"""Grey values to network input: one mean and standard deviation for a whole volume, never for one block."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from ..errors import VolumeError
from ..geometry import Box, Triple, triple

if TYPE_CHECKING:
    from torch import Tensor


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
        """Grey values of any shape as float32 of mean 0 and standard deviation 1, on the device where they are."""
        return (grey.float() - self.mean).mul_(1 / self.deviation)


def as_tensor(grey: NDArray[np.generic]) -> Tensor:
    """Grey values as a contiguous tensor: bytes as bytes, all else as float32."""
    import torch

    return torch.from_numpy(np.ascontiguousarray(grey if grey.dtype == np.uint8 else grey.astype(np.float32)))


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

    Args:
        read: gives the grey values of a box inside the volume.
        shape: the volume's shape (Z, Y, X), in voxels.
        fill_value: grey value of voxels that hold no image, left out; None where every voxel counts.
        samples: number of boxes that are read.
        sample_shape: their shape, in voxels.
        seed: seed of the boxes' places.

    Raises:
        VolumeError: the sampled voxels all have one value, so that there is nothing to normalise by.
    """
    extent = triple([min(s, v) for s, v in zip(sample_shape, shape, strict=True)])
    random = np.random.default_rng(seed)
    count, total, squares = 0, 0.0, 0.0
    for _ in range(samples):
        start = triple([int(random.integers(0, v - e + 1)) for v, e in zip(shape, extent, strict=True)])
        grey = read(Box.of_shape(extent, start)).astype(np.float64).ravel()
        if fill_value is not None:
            grey = grey[grey != fill_value]
        count += grey.size
        total += float(grey.sum())
        squares += float(np.square(grey).sum())
    mean = total / max(count, 1)
    variance = squares / max(count, 1) - mean * mean
    if variance <= 1e-12 * max(mean * mean, 1e-12):
        raise VolumeError(
            f"Grey values must vary to be normalised: all {count} sampled voxels that are not fill value {fill_value} "
            f"have the value {mean:g}. State the mean and deviation in the recipe, or check the volume."
        )
    return Normalisation(mean=round(mean, 4), deviation=round(float(np.sqrt(variance)), 4))
