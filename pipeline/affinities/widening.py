"""A network with more feature maps that answers as a trained one does, as a start for further training.

Chen, Goodfellow, Shlens 2016, "Net2Net: accelerating learning via knowledge transfer", arXiv 1511.05641. There new
feature maps are copies of old ones; here they are random, and no old one has a weight for them before it learns one.
"""

from __future__ import annotations

import torch

from .network_config import NetworkConfig
from .unet import ResidualSymmetricUNet


def may_widen(old: NetworkConfig, new: NetworkConfig) -> bool:
    """Tells whether the new network differs from the old one only by more feature maps in some levels."""
    same = new == old.model_copy(update={"widths": new.widths})
    return (
        same and len(old.widths) == len(new.widths) and all(a <= b for a, b in zip(old.widths, new.widths, strict=True))
    )


def widen(network: ResidualSymmetricUNet, config: NetworkConfig) -> ResidualSymmetricUNet:
    """Returns a network of a wider config whose output is that of a trained one.

    Args:
        network: the trained one.
        config: wider config that `may_widen` allows; torch's generator draws the weights of new feature maps.
    """
    wider = ResidualSymmetricUNet(config)
    with torch.no_grad():
        old = network.state_dict()
        for name, weights in wider.state_dict().items():
            found = old[name]
            if weights.ndim == 5:  # a convolution: outputs, inputs, kernel
                weights[: found.shape[0], found.shape[1] :] = 0
            weights[tuple(slice(length) for length in found.shape)] = found
    return wider
