"""Prediction and training keep the arrays of a step on one device, on a GPU without values, which any machine has."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from fakes.empty_gpu import GPU, EmptyDevice, EmptyGPU

from petavox.pipeline.affinities import augment_grey, prediction, sampling
from petavox.pipeline.affinities.augmentation_config import AugmentationConfig
from petavox.pipeline.affinities.prediction import Inference, Predictor
from petavox.pipeline.affinities.sampling import TrainingVolume
from petavox.pipeline.affinities.training import Trainer
from petavox.pipeline.affinities.training_config import TrainingConfig
from petavox.pipeline.affinities.unet import NetworkConfig, ResidualSymmetricUNet
from petavox.pipeline.geometry import Box
from petavox.pipeline.networks.normalisation import Normalisation

NETWORK = NetworkConfig(widths=(4, 6), stride=(1, 2, 2), descriptors=(1.0, 2.0, 2.0))
NORMALISATION = Normalisation(mean=120.0, deviation=40.0)
HERE, THERE = torch.ones(3), torch.ones(3, device=GPU)
KERNEL = torch.ones(1, 1, 3, 3, 3)


@pytest.mark.parametrize(
    "mixed",
    [
        lambda: HERE + THERE,
        lambda: HERE * THERE.sum(),
        lambda: THERE.clone().add_(HERE),
        lambda: torch.stack([HERE, THERE]),
        lambda: torch.conv3d(torch.ones(1, 1, 4, 4, 4, device=GPU), KERNEL),
        lambda: THERE.index_select(0, torch.zeros(2, dtype=torch.long)),
        lambda: torch._foreach_lerp_([THERE], [HERE], 0.1),
    ],
)
def test_operations_on_arrays_of_both_devices_raise(mixed):
    with EmptyGPU(), pytest.raises(RuntimeError, match="same device"):
        mixed()


def test_numbers_travel_and_what_is_fetched_is_zero():
    with EmptyGPU() as gpu:
        assert (THERE * torch.tensor(2.0)).device.type == GPU
        assert not THERE.cpu().any()
        assert float(THERE.sum()) == 0
        assert not torch.ones(3).copy_(THERE).any()
        with torch.inference_mode():
            assert not THERE.cpu().any()
    assert gpu.operations >= 4


@pytest.fixture
def predictor(monkeypatch):
    """A predictor on the empty GPU, and the function that predicts a volume with it, and says how many operations."""
    monkeypatch.setattr(prediction, "Device", EmptyDevice)
    inference = Inference(
        patch=(4, 8, 12),
        normalisation=NORMALISATION,
        fill_value=0,
        batch=2,
        device=GPU,
        variants=8,
        overlap=(2, 4, 6),
    )
    made = Predictor(ResidualSymmetricUNet(NETWORK), inference)

    def predicted():
        raw, gpu = np.random.default_rng(0).integers(0, 255, (7, 20, 26), np.uint8), EmptyGPU()
        read = gpu.throughout(lambda box: raw[box.slices()])
        with gpu:
            found = made.predict(read, raw.shape, Box((1, 0, 4), (7, 20, 26)), 3)
        assert found.shape == (3, 6, 20, 22)
        return gpu.operations

    return made, predicted


def test_a_prediction_stays_on_its_device(predictor):
    assert predictor[1]() > 1000


def test_a_prediction_that_forgets_where_it_is_raises(predictor, monkeypatch):
    weights = predictor[0]._weights_of
    monkeypatch.setattr(predictor[0], "_weights_of", lambda grid, index: torch.ones(weights(grid, index).shape))
    with pytest.raises(RuntimeError, match="same device"):
        predictor[1]()


def test_a_training_stays_on_its_device(tmp_path, monkeypatch):
    """The device draws no random numbers, has no autocast, and does not know how many objects there are."""
    autocast = torch.autocast
    monkeypatch.setattr(torch, "autocast", lambda device, **how: autocast("cpu", **how))
    monkeypatch.setattr(
        augment_grey,
        "add_noise",
        lambda image, deviation, _: image.add_(torch.randn(image.shape, device=image.device), alpha=deviation),
    )
    monkeypatch.setattr(
        sampling, "shape_descriptors", lambda labels, _: torch.zeros((10, *labels.shape), device=labels.device)
    )
    labels = np.broadcast_to(np.repeat(np.arange(1, 9), 6), (8, 48, 48)).astype(np.uint16)
    image = np.random.default_rng(0).integers(0, 255, labels.shape, np.uint8)
    validation = (Box((0, 0, 0), (4, 16, 48)),)
    volume = TrainingVolume(image, labels, np.ones(labels.shape, bool), NORMALISATION, validation)
    settings = TrainingConfig(
        patch=(4, 16, 16), steps=3, threads=1, log_every=1, validate_every=2, seed=1, batch=2, maximin_weight=1.0
    )
    every = AugmentationConfig(defocus=1.0, grey=1.0, shading=1.0, warp=1.0, elastic=1.0, displacement=4)
    with EmptyGPU() as gpu:
        trainer = Trainer(
            NETWORK,
            every,
            settings.model_copy(update={"device": GPU, "descriptor_weight": 1.0}),
            [volume],
            tmp_path,
            voxel_size=(30.0, 6.0, 6.0),
            provenance={},
        )
        monkeypatch.setattr(trainer.sampler, "draw", gpu.throughout(trainer.sampler.draw))
        trainer.run()
    assert trainer.state.next_step == 3
    assert gpu.operations > 1000
    assert {value.device.type for value in trainer.state.average.state_dict().values()} == {GPU}
