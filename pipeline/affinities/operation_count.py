"""How much a network computes, counted on the smallest patch that it takes."""

from __future__ import annotations

from math import prod

import torch
from torch import Tensor, nn

from .network_config import NetworkConfig
from .unet import ResidualSymmetricUNet


def operations_a_voxel(network: NetworkConfig) -> float:
    """Floating-point operations of the convolutions for each voxel of a patch, a product and its addition being two."""
    counted: list[float] = []

    def count(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        if isinstance(module, nn.Conv3d):
            counted.append(2.0 * module.weight.numel() * prod(output.shape[2:]))

    model = ResidualSymmetricUNet(network).eval()
    for module in model.modules():
        module.register_forward_hook(count)
    patch = network.multiple
    with torch.no_grad():
        model(torch.zeros((1, 1, *patch)))
    return sum(counted) / prod(patch)
