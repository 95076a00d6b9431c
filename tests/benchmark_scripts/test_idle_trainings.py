"""Benchmarks make idle trainings wait, in whatever way they are started from the root of the repository."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from petavox.workflows.models.benchmark_lock import FOLDER, BenchmarkPause

ROOT = Path(__file__).parents[2]


@pytest.fixture
def pause(tmp_path, monkeypatch):
    monkeypatch.setenv(FOLDER, str(tmp_path))
    pause = BenchmarkPause()
    yield pause
    pause.close()


def started(*words):
    """Python with some words, from the root of the repository; it waits for a line."""
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    environment = os.environ | {"PYTHONUNBUFFERED": "1", "PYTHONPATH": path}
    command = [sys.executable, *words]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment)


def test_idle_trainings_wait_while_a_benchmark_runs(pause):
    with started("-m", "benchmarks.harness.quiet", sys.executable, "-c", "print('runs'); input()") as benchmark:
        assert benchmark.stdout.readline() == "runs\n"
        assert pause()
        benchmark.communicate("\n")
    assert benchmark.returncode == 0
    assert not pause()


def test_importing_a_benchmark_makes_nobody_wait(pause):
    with started("-c", "import benchmarks.harness.measure; print('imported'); input()") as importer:
        assert importer.stdout.readline() == "imported\n"
        assert not pause()
        importer.communicate("\n")
