"""The demo: a phantom drawn block by block, whole or not there, and run to its scores."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from fakes.shuffled import Silent

from petavox import cluster
from petavox.pipeline.affinities.checkpoint import CheckpointConfig
from petavox.pipeline.affinities.unet import NetworkConfig, ResidualSymmetricUNet
from petavox.pipeline.geometry import Box
from petavox.pipeline.networks.checkpoint import save_checkpoint
from petavox.pipeline.phantom import Phantom
from petavox.pipeline.volumes import open_volume
from petavox.workflows.execution import attempt
from petavox.workflows.runs import demo

SHAPE = (6, 40, 40)


@pytest.fixture(autouse=True)
def small(monkeypatch, tmp_path):
    """Small blocks, an untrained network, and no processes."""
    torch.manual_seed(0)
    network = NetworkConfig(widths=(2, 3), stride=(1, 2, 2))
    config = CheckpointConfig(network=network, patch=(4, 8, 8), voxel_size=(30.0, 6.0, 6.0))
    save_checkpoint(tmp_path / "network", config, ResidualSymmetricUNet(network).state_dict())
    monkeypatch.setattr(demo, "CHECKPOINT", str(tmp_path / "network"))
    monkeypatch.setattr(demo, "BLOCK", (6, 20, 20))
    serial = cluster.start(cluster.ClusterSpec("serial"), attempt.perform)
    monkeypatch.setattr(cluster, "start", lambda *_, **__: serial)


def test_the_demo_leaves_everything_in_its_directory_and_continues_where_it_stopped(tmp_path):
    ending = demo.run_demo(tmp_path / "demo", 2, Silent(), SHAPE)
    assert ending.exit_status == 0
    assert 0 <= ending.scores.adapted_rand_error <= 1
    for name in ("em.zarr", "truth.zarr", "segmentation.zarr", "recipe.toml", "scores.json", "report.html", "log.txt"):
        assert (tmp_path / "demo" / name).exists()
    again = Silent()
    demo.run_demo(tmp_path / "demo", 2, again, SHAPE)
    assert again.lines == ["Everything is done already."]


def test_the_phantom_is_the_same_however_often_its_drawing_was_interrupted(tmp_path, monkeypatch):
    real, calls = Phantom.read, []

    def interrupted(self, box):
        calls.append(box)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return real(self, box)

    monkeypatch.setattr(Phantom, "read", interrupted)
    with pytest.raises(KeyboardInterrupt):
        demo.run_demo(tmp_path, 2, Silent(), SHAPE)
    assert not (tmp_path / "em.zarr").exists()
    demo.run_demo(tmp_path, 2, Silent(), SHAPE)
    whole = real(Phantom(demo.PHANTOM), Box.of_shape(SHAPE))
    for name, expected in zip(("em.zarr", "truth.zarr"), whole, strict=True):
        assert np.array_equal(open_volume(tmp_path / name).read(Box.of_shape(SHAPE)), expected)
