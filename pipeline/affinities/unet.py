"""The network: a residual symmetric U-Net, as a torch module built from a strict config.

Lee, Zung, Li, Jain, Seung 2017, "Superhuman accuracy on the SNEMI3D connectomics challenge", arXiv 1706.00120.
"""

from __future__ import annotations

from itertools import pairwise
from math import prod

import torch
from torch import Tensor, nn

from ..geometry import Triple
from ..networks.layers import NormalisedConvolution
from .network_config import NetworkConfig


class Module(nn.Module):
    """Computes three convolutions, with a skip from the first one's output to the sum before the last normalisation."""

    def __init__(self, inputs: int, outputs: int, config: NetworkConfig) -> None:
        super().__init__()
        self.entry = NormalisedConvolution(inputs, outputs, config.entry)
        self.middle = NormalisedConvolution(outputs, outputs, config.kernel)
        self.last = NormalisedConvolution(outputs, outputs, config.kernel)
        self.skip_scale: Tensor | None
        self.register_buffer("skip_scale", None)
        self.activation = nn.ELU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        skip = self.activation(self.entry(x))
        x = self.activation(self.middle(skip))
        if self.skip_scale is None:
            return self.activation(self.last.norm(self.last.convolution(x) + skip))  # type: ignore[no-any-return]
        return self.activation(torch.addcmul(self.last.convolution(x), skip, self.skip_scale.to(skip.dtype)))  # type: ignore[no-any-return]

    def fold(self) -> None:
        """Folds the normalisations; the last one scales the skip, too."""
        norm = self.last.norm
        if isinstance(norm, nn.BatchNorm3d) and norm.running_var is not None:
            self.skip_scale = (norm.weight / torch.sqrt(norm.running_var + norm.eps)).reshape(1, -1, 1, 1, 1)
        for convolution in (self.entry, self.middle, self.last):
            convolution.fold()


class Enlarge(nn.Module):
    """Repeats every voxel along each axis, and leaves the memory format as it is.

    torch's own kernel for GPUs copies channels-last maps to contiguous ones and back.
    """

    def __init__(self, factor: Triple) -> None:
        super().__init__()
        self.factor = factor
        self.interpolate = nn.Upsample(scale_factor=tuple(float(f) for f in factor), mode="nearest")

    def forward(self, x: Tensor) -> Tensor:
        if not x.is_cuda:
            return self.interpolate(x)  # type: ignore[no-any-return]
        (n, c, z, y, x_), (a, b, d) = x.shape, self.factor
        voxels = x.permute(0, 2, 3, 4, 1)[:, :, None, :, None, :, None]
        return voxels.expand(n, z, a, y, b, x_, d, c).reshape(n, z * a, y * b, x_ * d, c).permute(0, 4, 1, 2, 3)


class ResidualSymmetricUNet(nn.Module):
    """Turns grey values into logits of affinities, one for each channel, at the same resolution.

    The input has the shape (N, 1, Z, Y, X) with Z, Y, X divisible by `config.multiple`; the output has the shape
    (N, C, Z, Y, X) with one channel an offset: the logit at p is that of the edge between p and p − offset. Logits of
    the ten local shape descriptors follow where the config asks for them.
    """

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.config = config
        widths = config.widths
        self.activation = nn.ELU(inplace=True)
        self.embed = NormalisedConvolution(1, widths[0], config.embedding, config.stride)
        self.down = nn.ModuleList(Module(a, b, config) for a, b in zip((widths[0], *widths[:-1]), widths, strict=True))
        self.pool = nn.MaxPool3d(config.pooling)
        self.project = nn.ModuleList(nn.Conv3d(b, a, 1) for a, b in pairwise(widths))
        self.enlarge = Enlarge(config.pooling)
        self.up = nn.ModuleList(Module(width, width, config) for width in widths[:-1])
        self.unembed = NormalisedConvolution(widths[0], widths[0], config.embedding)
        self.head = nn.Conv3d(widths[0], config.outputs * prod(config.stride), 1)
        for layer in self.modules():
            if isinstance(layer, nn.Conv3d):
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
                if layer.bias is not None:
                    nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor) -> Tensor:
        x = self.activation(self.embed(x))
        skips = []
        for level, module in enumerate(self.down):
            x = module(x if level == 0 else self.pool(x))
            skips.append(x)
        for level in reversed(range(len(self.up))):
            x = self.up[level](self.enlarge(self.project[level](x)) + skips[level])
        x = self.activation(self.unembed(x))
        return subvoxel_shuffle(self.head(x), self.config.stride)

    def fold(self, channels: int) -> ResidualSymmetricUNet:
        """Folds the network for inference, in place: normalisations into their convolutions, first channels only."""
        self.eval().requires_grad_(False)
        for layer in (self.embed, self.unembed, *self.down, *self.up):
            layer.fold()
        kept = channels * prod(self.config.stride)
        self.head.weight = nn.Parameter(self.head.weight[:kept].clone(), requires_grad=False)
        if self.head.bias is not None:
            self.head.bias = nn.Parameter(self.head.bias[:kept].clone(), requires_grad=False)
        return self


def subvoxel_shuffle(x: Tensor, stride: Triple) -> Tensor:
    """Turns channels into voxels: (N, C · prod(stride), Z, Y, X) to (N, C, Z · sz, Y · sy, X · sx)."""
    if stride == (1, 1, 1):
        return x
    (a, b, c), (n, _, z, y, x_) = stride, x.shape
    parts = x.reshape(n, -1, a, b, c, z, y, x_).permute(0, 1, 5, 2, 6, 3, 7, 4)
    return parts.reshape(n, -1, z * a, y * b, x_ * c)
