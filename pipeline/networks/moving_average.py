"""Averaged weights: those of a network, smoothed over the steps of its training."""

from __future__ import annotations

import torch
from torch import nn


class MovingAverage:
    """Keeps weights that follow those of a network, all in one pass over them.

    Args:
        kept: the network of the averaged weights.
        model: the network that is trained, of the same config.
    """

    def __init__(self, kept: nn.Module, model: nn.Module) -> None:
        pairs = list(zip(kept.state_dict().values(), model.state_dict().values(), strict=True))
        self._averaged = [pair for pair in pairs if pair[0].is_floating_point()]
        self._counted = [pair for pair in pairs if not pair[0].is_floating_point()]

    def update(self, share: float) -> None:
        """Moves the averaged weights by a share of their distance to the network's; what is counted is copied."""
        with torch.no_grad():
            torch._foreach_lerp_([kept for kept, _ in self._averaged], [new for _, new in self._averaged], share)
            for kept, new in self._counted:
                kept.copy_(new)
