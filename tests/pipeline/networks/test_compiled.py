"""A network that torch really compiles, on this CPU, answers and learns as it does uncompiled."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
import torch
from torch._dynamo.utils import counters
from torch._inductor import config as inductor

from petavox.pipeline.affinities.augmentation_config import AugmentationConfig
from petavox.pipeline.affinities.sampling import TrainingVolume
from petavox.pipeline.affinities.training import Trainer
from petavox.pipeline.affinities.training_config import TrainingConfig
from petavox.pipeline.affinities.unet import NetworkConfig, ResidualSymmetricUNet
from petavox.pipeline.networks.engine import Engine
from petavox.pipeline.networks.normalisation import Normalisation

NETWORK = NetworkConfig(widths=(2,), stride=(1, 2, 2))

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not any(map(shutil.which, ("g++", "clang++", "c++"))), reason="no C++ compiler"),
    pytest.mark.filterwarnings("default"),  # torch's own, which change with its version
]


@pytest.fixture(autouse=True)
def _compiles_anew(tmp_path, monkeypatch):
    """Nothing is taken from an earlier compilation, nor left for a later one."""
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "inductor"))
    torch._dynamo.reset()
    counters.clear()
    with inductor.patch(compile_threads=1):  # others would be processes that each load torch
        yield
    torch._dynamo.reset()


def compiled_graphs() -> int:
    return int(counters["stats"]["unique_graphs"])


def test_a_compiled_engine_answers_as_the_network_does(monkeypatch):
    torch.manual_seed(2)
    state = ResidualSymmetricUNet(NETWORK).state_dict()
    answers = []
    patches = torch.randn(2, 1, 2, 16, 16)
    for compiled in (False, True):
        network = ResidualSymmetricUNet(NETWORK)
        network.load_state_dict(state)
        engine = Engine(network, 3, "cpu", "float32", patch_bytes=1000, batch=2, compiled=compiled)
        answers.append(engine(patches))
        assert compiled_graphs() == compiled
    torch.testing.assert_close(*answers, atol=1e-5, rtol=1e-4)
    assert answers[0].std() > 1e-3


def test_a_compiled_training_learns_as_the_plain_one(tmp_path):
    labels = np.broadcast_to(np.repeat(np.arange(1, 5), 8), (4, 32, 32)).astype(np.uint16)
    image = np.random.default_rng(0).integers(0, 255, labels.shape, np.uint8)
    normalisation = Normalisation(mean=127.0, deviation=74.0)
    volume = TrainingVolume(image, labels, np.ones(labels.shape, bool), normalisation, ())
    losses = {}
    for compiled in (False, True):
        settings = TrainingConfig(patch=(2, 16, 16), steps=2, threads=1, log_every=1, seed=1, compile=compiled)
        lines = []
        folder = tmp_path / str(compiled)
        Trainer(
            NETWORK,
            AugmentationConfig(),
            settings,
            [volume],
            folder,
            voxel_size=(30.0, 6.0, 6.0),
            provenance={},
            report=lines.append,
        ).run()
        losses[compiled] = [line["loss"] for line in lines if "loss" in line]
        assert (compiled_graphs() > 0) == compiled
    assert len(losses[True]) == 2
    assert losses[True] == pytest.approx(losses[False], rel=1e-4)
