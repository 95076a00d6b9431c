"""Configures the shape of the network, for everybody who reads, checks or plans with it where torch is not loaded."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, PositiveFloat, model_validator

from ..errors import RequestError
from ..geometry import Triple, triple
from .offsets import LONG_RANGE, Offsets

DESCRIPTORS = 10
"""Channels of the local shape descriptors: mean offset z, y, x; variance z, y, x; correlation zy, zx, yx; size."""


class NetworkConfig(BaseModel):
    """Holds everything that shapes the network; the defaults are those of the paper.

    Args:
        widths: Feature maps of each level, the full resolution first.
        pooling: Max-pooling factor between two levels (z, y, x).
        embedding: Kernel of the convolutions at both ends.
        entry: Kernel of the first convolution of a module.
        kernel: Kernel of the second and third convolutions of a module.
        stride: Step of the embedding convolution. The head then makes prod(stride) voxels of each of its own
            (sub-voxel convolution, Shi et al. 2016, arXiv 1609.05158). (1, 1, 1) is the paper.
        offsets: Offset of each output channel, in voxels z, y, x. The first three must be the nearest neighbours.
        descriptors: Standard deviation of the Gaussian of local shape descriptors along z, y, x, in voxels. They are
            ten more output channels, learned beside the affinities and left out when the network predicts.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    widths: tuple[int, ...] = (28, 36, 48, 64, 80)
    pooling: Triple = (1, 2, 2)
    embedding: Triple = (1, 5, 5)
    entry: Triple = (1, 3, 3)
    kernel: Triple = (3, 3, 3)
    stride: Triple = (1, 1, 1)
    offsets: Offsets = LONG_RANGE
    descriptors: tuple[PositiveFloat, PositiveFloat, PositiveFloat] | None = None

    @model_validator(mode="after")
    def _check(self) -> NetworkConfig:
        if not self.widths or min(self.widths) < 1:
            raise ValueError(f"widths must name at least one level, each of at least 1 feature map: {self.widths}")
        if min(*self.pooling, *self.stride) < 1:
            raise ValueError(f"pooling {self.pooling} and stride {self.stride} must be at least 1")
        if any(k < 1 or k % 2 == 0 for k in (*self.embedding, *self.entry, *self.kernel)):
            raise ValueError("embedding, entry and kernel must be odd and positive, so that the output stays in place")
        if not self.offsets:
            raise ValueError("offsets must name at least one output channel")
        return self

    @property
    def outputs(self) -> int:
        """Counts the output channels: the affinities, then the descriptors."""
        return len(self.offsets) + (0 if self.descriptors is None else DESCRIPTORS)

    @property
    def multiple(self) -> Triple:
        """Returns the numbers of voxels that must divide the shape of a patch (z, y, x)."""
        levels = len(self.widths) - 1
        return triple([s * p**levels for s, p in zip(self.stride, self.pooling, strict=True)])


def check_patch(patch: Triple, network: NetworkConfig) -> None:
    """Refuses a patch that the network's strides and poolings do not divide.

    Raises:
        RequestError: names the nearest shape that fits.
    """
    if any(p < 1 or p % m for p, m in zip(patch, network.multiple, strict=True)):
        fitting = tuple(-(-p // m) * m for p, m in zip(patch, network.multiple, strict=True))
        raise RequestError(
            f"A patch must be divisible by {network.multiple} for this network, found {patch}. The next larger shape "
            f"that is: {fitting}."
        )
