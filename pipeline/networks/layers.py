"""Builds the layers of networks, and says which methods a network must have to be run."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from ..geometry import Triple, triple


class Foldable(Protocol):
    """Stands for a network that can be made ready for inference."""

    def fold(self, channels: int) -> nn.Module:
        """Folds the network for inference, in place: normalisations into their convolutions, first channels only."""
        ...


class NormalisedConvolution(nn.Module):
    """Computes a convolution and a batch normalisation, without an activation."""

    def __init__(self, inputs: int, outputs: int, kernel: Triple, stride: Triple = (1, 1, 1)) -> None:
        super().__init__()
        padding = triple([k // 2 for k in kernel])
        self.convolution = nn.Conv3d(inputs, outputs, kernel, stride=stride, padding=padding, bias=False)
        self.norm: nn.BatchNorm3d | nn.Identity = nn.BatchNorm3d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.convolution(x))  # type: ignore[no-any-return]

    def fold(self) -> None:
        """Moves the normalisation's running statistics into the convolution, for inference."""
        if isinstance(self.norm, nn.BatchNorm3d):
            self.convolution = fuse_conv_bn_eval(self.convolution, self.norm)
            self.norm = nn.Identity()
