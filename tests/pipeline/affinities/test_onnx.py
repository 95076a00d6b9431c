"""Checkpoints as ONNX files: the same affinities by another runtime, and the very same checkpoint back."""

import json
import sys

import numpy as np
import pytest
import torch

from petavox.pipeline.affinities.checkpoint import CheckpointConfig
from petavox.pipeline.affinities.network_config import NetworkConfig
from petavox.pipeline.affinities.onnx import INPUT, read_onnx, write_onnx
from petavox.pipeline.affinities.unet import ResidualSymmetricUNet
from petavox.pipeline.errors import CheckpointError, RequestError
from petavox.pipeline.networks.engine import Engine

PATCH = (2, 8, 16)
SERIAL = NetworkConfig(widths=(2, 3, 4), stride=(1, 2, 2), entry=(3, 1, 1), kernel=(1, 3, 3))
ISOTROPIC = NetworkConfig(widths=(3, 2), pooling=(2, 2, 2), entry=(3, 3, 3), descriptors=(4.0, 4.0, 4.0))


def checkpoint(network):
    """A config, and a network whose normalisations have seen something."""
    torch.manual_seed(0)
    module = ResidualSymmetricUNet(network)
    for _ in range(3):
        module(3 * torch.randn(2, 1, *PATCH) + 1)
    return CheckpointConfig(network=network, patch=PATCH, voxel_size=(30.0, 6.0, 6.0)), module


@pytest.fixture
def exported(tmp_path):
    """A file, and what was exported to it."""
    pytest.importorskip("onnx")
    config, module = checkpoint(SERIAL)
    write_onnx(tmp_path / "mine.onnx", config, module, "# mine")
    return tmp_path / "mine.onnx", config, module


@pytest.mark.parametrize("network", [SERIAL, ISOTROPIC], ids=["serial sections", "isotropic"])
def test_another_runtime_finds_what_a_worker_finds(tmp_path, network):
    reference = pytest.importorskip("onnx.reference")
    config, module = checkpoint(network)
    write_onnx(tmp_path / "mine.onnx", config, module, "# mine")
    engine = Engine(module, len(network.offsets), "cpu", "float32", 1, 2)
    evaluator = reference.ReferenceEvaluator(str(tmp_path / "mine.onnx"))
    for batch in (1, 3):
        patches = torch.randn(batch, 1, *PATCH)
        expected = engine(patches).numpy()
        (found,) = evaluator.run(None, {INPUT: patches.numpy()})
        assert found.shape == expected.shape
        assert np.abs(found - expected).max() < 1e-5
        assert found.std() > 1e-3


def test_a_checkpoint_comes_back_as_it_was(exported):
    file, config, module = exported
    found, weights, card = read_onnx(file)
    assert (found, card) == (config, "# mine")
    assert weights.keys() == module.state_dict().keys()
    assert all(torch.equal(weights[name], value) for name, value in module.state_dict().items())


def test_a_file_tells_other_programs_what_it_needs(exported):
    import onnx

    file, config, _ = exported
    model = onnx.load(file)
    told = {entry.key: entry.value for entry in model.metadata_props}
    assert json.loads(told["petavox.offsets"]) == [list(offset) for offset in config.network.offsets]
    shapes = [
        [dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim]
        for value in (*model.graph.input, *model.graph.output)
    ]
    assert shapes == [["batch", channels, *PATCH] for channels in (1, len(config.network.offsets))]


def test_damaged_files_and_those_of_others_are_refused(exported, tmp_path):
    import onnx

    file, _, _ = exported
    (tmp_path / "damaged.onnx").write_bytes(file.read_bytes()[:1000])
    other = onnx.load(file)
    del other.metadata_props[:]
    onnx.save(other, tmp_path / "other.onnx")
    for name in ("other.onnx", "damaged.onnx", "missing.onnx"):
        with pytest.raises(CheckpointError, match=name):
            read_onnx(tmp_path / name)


def test_without_the_package_its_name_is_said(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(RequestError, match=r"pip install onnx"):
        write_onnx(tmp_path / "mine.onnx", *checkpoint(SERIAL), "# mine")
    assert not (tmp_path / "mine.onnx").exists()
