import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from petavox.pipeline.affinities.offsets import LONG_RANGE
from petavox.pipeline.affinities.unet import NetworkConfig, ResidualSymmetricUNet, subvoxel_shuffle


def tiny(**changes):
    return NetworkConfig(widths=(4, 6, 8), **changes)


def with_statistics(network):
    """The network after normalisations have seen something, so that folding them can go wrong."""
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
        for _ in range(3):
            network.train()(2 * torch.randn(1, 1, 4, 16, 24) + 1)
    return network.eval()


def test_the_paper_has_one_and_a_half_million_weights_and_twelve_channels():
    network = ResidualSymmetricUNet(NetworkConfig())
    assert round(sum(p.numel() for p in network.parameters()) / 1e6, 2) == 1.48
    assert NetworkConfig().multiple == (1, 16, 16)
    with torch.inference_mode():
        assert network.eval()(torch.zeros(1, 1, 4, 16, 32)).shape == (1, 12, 4, 16, 32)


@pytest.mark.parametrize("stride", [(1, 1, 1), (1, 2, 2), (2, 1, 3)])
def test_output_has_the_input_s_resolution(stride):
    config = tiny(stride=stride)
    shape = tuple(2 * m for m in config.multiple)
    assert ResidualSymmetricUNet(config)(torch.randn(2, 1, *shape)).shape == (2, len(LONG_RANGE), *shape)


@pytest.mark.parametrize("descriptors", [None, (1.0, 2.0, 2.0)])
@pytest.mark.parametrize("stride", [(1, 1, 1), (1, 2, 2)])
def test_folding_changes_nothing_but_the_number_of_channels(stride, descriptors):
    torch.manual_seed(0)
    network = with_statistics(ResidualSymmetricUNet(tiny(stride=stride, descriptors=descriptors)))
    image = torch.randn(1, 1, 4, 16, 24)
    with torch.inference_mode():
        before = network(image)
        after = network.fold(3)(image)
    torch.testing.assert_close(after, before[:, :3], rtol=1e-4, atol=1e-4)
    assert not any(isinstance(layer, torch.nn.BatchNorm3d) for layer in network.modules())


def test_descriptors_are_ten_more_channels_after_the_affinities():
    assert tiny().outputs == len(LONG_RANGE)
    assert tiny(descriptors=(1.0, 2.0, 2.0)).outputs == len(LONG_RANGE) + 10


@settings(max_examples=20)
@given(st.tuples(*(st.integers(1, 3),) * 3), st.integers(1, 3))
def test_every_sub_voxel_lands_where_it_belongs(stride, channels):
    a, b, c = stride
    x = torch.arange(channels * a * b * c * 2 * 3 * 4).reshape(1, channels * a * b * c, 2, 3, 4)
    shuffled = subvoxel_shuffle(x, stride)
    assert shuffled.shape == (1, channels, 2 * a, 3 * b, 4 * c)
    for channel in range(channels):
        for part in range(a * b * c):
            i, j, k = part // (b * c), part // c % b, part % c
            assert torch.equal(shuffled[0, channel, i::a, j::b, k::c], x[0, channel * a * b * c + part])


@pytest.mark.parametrize(
    "wrong",
    [{"widths": ()}, {"kernel": (3, 4, 3)}, {"pooling": (0, 2, 2)}, {"offsets": ()}, {"depth": 4}],
    ids=lambda wrong: next(iter(wrong)),
)
def test_configs_that_cannot_be_built_are_refused(wrong):
    with pytest.raises(ValidationError, match=next(iter(wrong))):
        NetworkConfig(**wrong)
