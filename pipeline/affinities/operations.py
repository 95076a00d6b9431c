"""How much a network computes, counted without computing anything."""

from __future__ import annotations

from math import prod

import torch
from torch.utils.flop_counter import FlopCounterMode

from ..geometry import Triple
from .network import NetworkConfig, ResidualSymmetricUNet


def operations_a_voxel(network: NetworkConfig, patch: Triple) -> float:
    """Floating-point operations for each voxel of a patch, an addition and a multiplication counting two."""
    with torch.device("meta"), torch.no_grad(), FlopCounterMode(display=False) as counter:
        ResidualSymmetricUNet(network).eval()(torch.zeros((1, 1, *patch)))
    return float(counter.get_total_flops()) / prod(patch)
