"""A network of a few weights that has learned nothing."""

from __future__ import annotations

from pathlib import Path

import torch

from petavox.pipeline.affinities.checkpoint import CheckpointConfig
from petavox.pipeline.affinities.network_config import NetworkConfig
from petavox.pipeline.affinities.offsets import NEAREST
from petavox.pipeline.affinities.unet import ResidualSymmetricUNet
from petavox.pipeline.networks.checkpoint import save_checkpoint


def save_network(folder: Path) -> None:
    """Write its checkpoint, for voxels of 30 × 6 × 6 nm."""
    torch.manual_seed(0)
    network = NetworkConfig(widths=(2, 3), stride=(1, 2, 2), offsets=NEAREST)
    config = CheckpointConfig(network=network, patch=(4, 8, 8), voxel_size=(30.0, 6.0, 6.0))
    save_checkpoint(folder, config, ResidualSymmetricUNet(network).state_dict())
