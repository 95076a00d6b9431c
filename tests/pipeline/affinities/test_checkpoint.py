import json

import pytest
import torch

from petavox.pipeline.affinities.checkpoint import (
    CheckpointConfig,
    check_checkpoint_offsets,
    find_checkpoint,
    load_checkpoint,
    read_checkpoint_config,
)
from petavox.pipeline.affinities.offsets import NEAREST
from petavox.pipeline.affinities.unet import NetworkConfig, ResidualSymmetricUNet
from petavox.pipeline.errors import CheckpointError
from petavox.pipeline.networks.checkpoint import CONFIG, WEIGHTS, save_checkpoint
from petavox.pipeline.networks.normalisation import Normalisation

NETWORK = NetworkConfig(widths=(2, 3), stride=(1, 2, 2), offsets=NEAREST)


@pytest.fixture
def saved(tmp_path):
    """A checkpoint on disk, and the network that it is of."""
    network = ResidualSymmetricUNet(NETWORK)
    config = CheckpointConfig(
        network=NETWORK,
        patch=(4, 8, 8),
        voxel_size=(30.0, 6.0, 6.0),
        normalisation=Normalisation(mean=120.0, deviation=40.0),
        provenance={"steps": 7},
    )
    save_checkpoint(tmp_path / "model", config, network.state_dict())
    return tmp_path / "model", config, network


def test_a_checkpoint_comes_back_as_it_was(saved):
    folder, config, network = saved
    found_config, found = load_checkpoint(folder)
    assert found_config.model_copy(update={"weights_sha256": ""}) == config
    for name, tensor in network.state_dict().items():
        assert torch.equal(found.state_dict()[name], tensor)
    assert sorted(path.name for path in folder.iterdir()) == [CONFIG, WEIGHTS]


def test_a_folder_is_found_by_its_path_and_a_missing_one_is_refused(saved, tmp_path):
    assert find_checkpoint(saved[0]) == saved[0].resolve()
    with pytest.raises(CheckpointError, match=r"name of a model .* found neither at .*nowhere"):
        find_checkpoint(tmp_path / "nowhere")


@pytest.mark.parametrize("name", [CONFIG, WEIGHTS])
def test_missing_and_damaged_files_are_noticed(saved, name):
    folder = saved[0]
    data = (folder / name).read_bytes()
    (folder / name).write_bytes(data[: len(data) // 2])
    with pytest.raises(CheckpointError, match=name):
        load_checkpoint(folder)
    (folder / name).unlink()
    with pytest.raises(CheckpointError, match=name):
        load_checkpoint(folder)


def test_weights_of_another_network_are_noticed(saved):
    folder, config, _ = saved
    other = ResidualSymmetricUNet(NetworkConfig(widths=(3, 3), stride=(1, 2, 2), offsets=NEAREST))
    save_checkpoint(folder, config, other.state_dict())
    with pytest.raises(CheckpointError, match="do not fit"):
        load_checkpoint(folder)


def test_an_unknown_setting_is_refused(saved):
    path = saved[0] / CONFIG
    path.write_text(json.dumps({**json.loads(path.read_text()), "code": "import os"}))
    with pytest.raises(CheckpointError, match="code"):
        read_checkpoint_config(saved[0])


def test_other_offsets_than_needed_are_refused(saved):
    folder, config, network = saved
    assert check_checkpoint_offsets(folder).network == NETWORK
    turned = NETWORK.model_copy(update={"offsets": NEAREST[::-1]})
    save_checkpoint(folder, config.model_copy(update={"network": turned}), network.state_dict())
    with pytest.raises(CheckpointError, match="made for other offsets"):
        check_checkpoint_offsets(folder)
