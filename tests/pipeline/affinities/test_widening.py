import pytest
import torch

from petavox.pipeline.affinities.unet import NetworkConfig, ResidualSymmetricUNet
from petavox.pipeline.affinities.widening import may_widen, widen

OLD = NetworkConfig(widths=(3, 4, 5), pooling=(1, 2, 2), stride=(1, 2, 2), descriptors=(3.0, 6.0, 6.0))


def trained():
    """A network with other weights and statistics than those it was drawn with."""
    torch.manual_seed(0)
    network = ResidualSymmetricUNet(OLD)
    for _ in range(3):
        network(1 + 2 * torch.randn(1, 1, 4, 16, 16)).square().mean().backward()
        with torch.no_grad():
            for weights in network.parameters():
                weights -= 0.1 * weights.grad
    return network.eval()


@pytest.mark.parametrize("widths", [(3, 4, 5), (3, 9, 5), (5, 6, 7)])
@pytest.mark.parametrize("training", [False, True])
def test_a_widened_network_answers_as_before(widths, training):
    network, image = trained(), torch.randn(2, 1, 4, 16, 16)
    wider = widen(network, OLD.model_copy(update={"widths": widths}))
    with torch.no_grad():
        found, expected = wider.train(training)(image), network.train(training)(image)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_all_new_weights_learn():
    wider = widen(trained(), OLD.model_copy(update={"widths": (5, 6, 7)})).train()
    optimiser = torch.optim.SGD(wider.parameters(), lr=0.1)
    before = {name: weights.detach().clone() for name, weights in wider.named_parameters()}
    for _ in range(4):  # a weight behind zeros learns when these have learned
        optimiser.zero_grad()
        wider(torch.randn(2, 1, 4, 16, 16)).square().mean().backward()
        optimiser.step()
    for name, weights in wider.named_parameters():
        changed = (weights != before[name]).flatten(1).any(1) if weights.ndim > 1 else weights != before[name]
        assert changed.all(), name


@pytest.mark.parametrize(
    ("changes", "allowed"),
    [
        ({}, True),
        ({"widths": (3, 4, 6)}, True),
        ({"widths": (3, 4, 4)}, False),
        ({"widths": (3, 4, 5, 6)}, False),
        ({"widths": (3, 4, 6), "descriptors": None}, False),
    ],
)
def test_more_feature_maps_alone_are_allowed(changes, allowed):
    assert may_widen(OLD, OLD.model_copy(update=changes)) is allowed
