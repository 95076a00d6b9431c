"""Two processes on one machine: gloo over the loopback, as torchrun would start them."""

import json
import multiprocessing
import os
import socket
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from petavox.pipeline.affinities.augmentation_config import AugmentationConfig
from petavox.pipeline.affinities.checkpoint import load_checkpoint
from petavox.pipeline.affinities.sampling import TrainingVolume
from petavox.pipeline.affinities.training import STATE, Trainer
from petavox.pipeline.affinities.training_config import TrainingConfig
from petavox.pipeline.affinities.unet import NetworkConfig
from petavox.pipeline.errors import RequestError
from petavox.pipeline.networks.log import LOG
from petavox.pipeline.networks.normalisation import Normalisation
from petavox.pipeline.networks.processes import Processes, current_processes, joined_processes

NETWORK = NetworkConfig(widths=(4, 6), stride=(1, 2, 2), descriptors=(1.0, 2.0, 2.0))
TRAINING = TrainingConfig(patch=(4, 16, 16), batch=4, steps=6, warm_up=2, threads=1, log_every=1, seed=1)


def train(directory):
    labels = np.random.default_rng(0).integers(0, 5, (8, 6, 6)).repeat(8, 1).repeat(8, 2)
    mask = np.random.default_rng(1).random(labels.shape) < 0.8
    volume = TrainingVolume((40 * labels).astype(np.uint8), labels, mask, Normalisation(mean=80, deviation=60))
    trainer = Trainer(
        NETWORK,
        AugmentationConfig(displacement=4),
        TRAINING,
        [volume],
        directory,
        voxel_size=(30.0, 6.0, 6.0),
        provenance={},
    )
    return trainer.run()


def one_of_two(number, port, directory):
    """What a process does that torchrun has started; leaves the names of the files that it wrote or changed."""
    os.environ |= {"WORLD_SIZE": "2", "RANK": str(number), "LOCAL_RANK": str(number), "OMP_NUM_THREADS": "1"}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "GLOO_SOCKET_IFNAME": "lo"}
    torch.set_num_threads(1)
    opened = set()
    sys.addaudithook(
        lambda event, found: opened.add(str(found[0])) if event == "open" and "w" in str(found[1]) else None
    )
    with joined_processes("cpu") as processes:
        assert processes == current_processes() == Processes(number, 2)
        train(directory)
    assert current_processes() == Processes()
    (directory.parent / f"opened-{number}").write_text("\n".join(name for name in opened if str(directory) in name))


@pytest.fixture(scope="module")
def alone_and_together(tmp_path_factory):
    """The folders of two trainings: by one process, and by two with half of each batch."""
    folder = tmp_path_factory.mktemp("trainings")
    train(folder / "alone")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=one_of_two, args=(n, port, folder / "together")) for n in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
    assert [process.exitcode for process in processes] == [0, 0]
    return folder


def losses(directory: Path):
    lines = [json.loads(line) for line in (directory / LOG).read_text().splitlines()]
    return [line["loss"] for line in lines if "loss" in line]


def test_two_processes_train_as_one_with_the_whole_batch(alone_and_together):
    alone, together = alone_and_together / "alone", alone_and_together / "together"
    assert len(losses(together)) == TRAINING.steps
    np.testing.assert_allclose(losses(together), losses(alone), rtol=1e-3)
    (_, one), (_, other) = (load_checkpoint(folder / "checkpoint") for folder in (alone, together))
    for name, value in one.state_dict().items():
        torch.testing.assert_close(other.state_dict()[name], value, rtol=1e-2, atol=2e-4, msg=name)


def test_only_the_first_process_writes(alone_and_together):
    assert STATE in (alone_and_together / "opened-0").read_text()
    assert not (alone_and_together / "opened-1").read_text()


def test_a_batch_that_cannot_be_shared_is_refused():
    assert [list(Processes(n, 2).share(6)) for n in range(2)] == [[0, 2, 4], [1, 3, 5]]
    with pytest.raises(RequestError, match=r"found 5 patches for 2 processes.*: 6"):
        Processes(0, 2).share(5)


def test_without_torchrun_a_process_is_alone(monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with joined_processes("cpu") as processes:
        assert processes == Processes()
        assert processes.first
