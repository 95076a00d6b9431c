"""A tiny training, and processes that train it."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from fakes.tiny_training import tiny_training
from safetensors.torch import load_file

from petavox.workflows.models.benchmark_lock import FOLDER

TINY = tiny_training(6, "warm_up = 2", "log_every = 1")

TRAIN = """
import sys, time
from pathlib import Path
from petavox.pipeline.affinities.training import Trainer
from petavox.workflows.cli import main
step, pace = Trainer._step, float(sys.argv[1])
def slow(self, *arguments):
    time.sleep(pace)
    return step(self, *arguments)
Trainer._step = slow
sys.argv = ["petavox", "train", *sys.argv[2:]]
from petavox.workflows.models import idle
idle.lower_priority = lambda: None  # or a busy machine would never get to it
main()
"""


@pytest.fixture(autouse=True)
def own_locks(tmp_path, monkeypatch):
    """Keeps benchmarks and idle trainings of this machine out."""
    monkeypatch.setenv(FOLDER, str(tmp_path / "locks"))


@pytest.fixture
def tiny(tmp_path):
    """A recipe that trains in a moment."""
    path = tmp_path / "tiny.toml"
    path.write_text(TINY)
    return path


class Training:
    """`petavox train` as a process of its own, whose steps take a while."""

    def __init__(self, directory: Path, *words: str | Path, pace: float = 0.05) -> None:
        self.directory = directory
        command = [sys.executable, "-P", "-c", TRAIN, str(pace), *map(str, words), "--out", str(directory)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def __enter__(self) -> Training:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.communicate()

    def until(self, text: str, count: int = 1) -> None:
        """Waits until the log has a text so many times."""
        log = self.directory / "training_log.jsonl"
        while not log.exists() or log.read_text().count(text) < count:
            assert self.process.poll() is None, self.process.communicate()
            time.sleep(0.01)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def ends(self, number: int = signal.SIGTERM) -> tuple[int, str]:
        """Sends a signal, and returns the exit status and what the process has said on standard error."""
        self.process.send_signal(number)
        _, said = self.process.communicate()
        return self.process.returncode, said


def state(directory: Path) -> dict:
    """Everything that a training is resumed from."""
    return load_file(directory / "state.safetensors")
