"""Operations of a network are those that torch counts on a whole patch."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from petavox.pipeline.affinities.unet import NetworkConfig, ResidualSymmetricUNet
from petavox.pipeline.networks.operation_count import operations_a_voxel

NEAREST = ((1, 0, 0), (0, 1, 0), (0, 0, 1))


@pytest.mark.parametrize(("widths", "stride"), [((2, 3), (1, 1, 1)), ((2, 3, 5), (1, 2, 2))])
def test_the_smallest_patch_tells_what_any_patch_takes(widths, stride):
    config = NetworkConfig(widths=widths, stride=stride, offsets=NEAREST)
    network = ResidualSymmetricUNet(config).eval()
    patch = tuple(3 * m for m in config.multiple)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        network(torch.zeros((1, 1, *patch)))
    voxels = patch[0] * patch[1] * patch[2]
    assert operations_a_voxel(network, config.multiple) == pytest.approx(counter.get_total_flops() / voxels)
