"""The operations of a network, counted on one patch."""

from __future__ import annotations

from math import prod

import torch
from torch import Tensor, nn

from ..geometry import Triple


def operations_a_voxel(network: nn.Module, patch: Triple) -> float:
    """Counts floating-point operations of the convolutions for a voxel of a patch; product and addition are two.

    Args:
        network: takes (1, 1, Z, Y, X).
        patch: shape (Z, Y, X) that the network can take; the smallest is counted fastest.
    """
    counted: list[float] = []

    def count(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        if isinstance(module, nn.Conv3d):
            counted.append(2.0 * module.weight.numel() * prod(output.shape[2:]))

    hooks = [module.register_forward_hook(count) for module in network.eval().modules()]
    with torch.no_grad():
        network(torch.zeros((1, 1, *patch)))
    for hook in hooks:
        hook.remove()
    return sum(counted) / prod(patch)
