"""Idle trainings: nothing that happens to their processes changes their weights, and they make way for benchmarks."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest
import torch

from petavox.pipeline.affinities import training
from petavox.pipeline.errors import StorageError
from petavox.workflows.models.benchmark_lock import FOLDER, BenchmarkPause, pause_idle_trainings
from petavox.workflows.models.idle import IDLE
from petavox.workflows.models.train import train_from_recipe

from .conftest import Training, state

STEPS = 40


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_weights_are_the_same_after_kills_as_without(tiny, tmp_path):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    changes = [f"training.steps={STEPS}", "training.save_every=4"]
    train_from_recipe(tiny, whole, [*IDLE, *changes])
    words = [word for change in changes for word in ("--set", change)]
    for steps in (9, 8, 7):  # of the log since the start; the state is that of a step before
        with Training(killed, tiny, "--idle", *words) as run:
            log = killed / "training_log.jsonl"
            before = log.read_text().count('"loss"') if log.exists() else 0
            run.until('"loss"', before + steps)
            run.kill()
    (killed / ".state.safetensors.1.partial").write_bytes(b"half a state")  # of one that was killed while it saved
    folder = train_from_recipe(tiny, killed, [*IDLE, *changes])
    assert (killed / "training_log.jsonl").read_text().count('"resume"') == 3
    assert same(state(killed), state(whole))
    for name in ("last", "longer"):
        made, wanted = (folder / name / "weights.safetensors" for folder in (killed, whole))
        assert made.read_bytes() == wanted.read_bytes()
    assert folder == killed / "last"
    assert list(killed.glob(".*.partial")) == []


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_a_signal_ends_a_training_with_its_state_saved(tiny, tmp_path, number, status):
    directory = tmp_path / "training"
    with Training(directory, tiny, "--idle", "--set", "training.save_every=1000000") as run:
        run.until('"loss"', 3)
        assert not (directory / "state.safetensors").exists()
        assert run.ends(number)[0] == status
    steps = (directory / "training_log.jsonl").read_text().count('"loss"')
    train_from_recipe(tiny, tmp_path / "whole", [*IDLE, f"training.steps={steps}"])
    assert same(state(directory), state(tmp_path / "whole"))


def test_an_idle_training_waits_while_a_benchmark_runs(tmp_path):
    pause = BenchmarkPause()
    assert not pause()
    held = pause_idle_trainings(patience=0)
    assert pause()
    again = pause_idle_trainings(patience=0)  # another benchmark
    held.close()
    assert pause()
    again.close()
    assert not pause()
    pause.close()


def test_locks_that_cannot_be_made_are_told_with_the_cure(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv(FOLDER, str(tmp_path / "file" / "locks"))
    with pytest.raises(StorageError, match=f"Set .{FOLDER} to another folder"):
        BenchmarkPause()
    assert pause_idle_trainings() is None


def test_a_benchmark_begins_when_no_step_is_under_way(tmp_path):
    """Else what is left of a step would be measured, too."""
    script = f"""
from pathlib import Path
from petavox.workflows.models.benchmark_lock import pause_idle_trainings
print("asks", flush=True)
held = pause_idle_trainings(600)
Path({str(tmp_path)!r}, "begins").touch()
"""
    pause = BenchmarkPause()
    assert not pause()  # a step begins
    with subprocess.Popen([sys.executable, "-P", "-c", script], stdout=subprocess.PIPE, text=True) as benchmark:
        assert benchmark.stdout.readline() == "asks\n"
        time.sleep(0.3)  # in which it would begin
        assert not (tmp_path / "begins").exists()
        assert pause()  # the next step does not begin
        assert benchmark.wait() == 0
    assert (tmp_path / "begins").exists()
    pause.close()


def test_a_pause_saves_the_state_and_changes_nothing_else(tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(training, "PAUSE", 0.0)
    saved, lines = [], []

    def pause():
        if len(lines) and lines[-1].get("event") == "pause":
            saved.append((tmp_path / "paused" / "state.safetensors").exists())
            return len(saved) < 5
        return lines[-1].get("step") == 3

    for name, when in (("whole", lambda: False), ("paused", pause)):
        train_from_recipe(tiny, tmp_path / name, [*IDLE, "training.steps=6"], lines.append, pause=when)
    assert saved == [True] * 5
    assert [line["event"] for line in lines if "event" in line] == ["start", "start", "pause", "go on"]
    assert same(state(tmp_path / "paused"), state(tmp_path / "whole"))


def test_a_training_that_is_stopped_while_it_waits_begins_no_other_step(tiny, tmp_path):
    directory = tmp_path / "training"
    held = pause_idle_trainings(patience=0)
    with Training(directory, tiny, "--idle") as run:
        run.until('"pause"')
        assert run.ends()[0] == 0
    held.close()
    assert '"loss"' not in (directory / "training_log.jsonl").read_text()
    assert (directory / "state.safetensors").exists()


@pytest.mark.skipif(not hasattr(os, "SCHED_IDLE"), reason="this system has no such class")
def test_the_priority_is_the_lowest_for_all_threads_and_those_to_come():
    script = """
import os, threading, psutil
from petavox.workflows.models.idle import lower_priority
found, ready = [], threading.Event()
early = threading.Thread(target=lambda: (ready.wait(), found.append(os.sched_getscheduler(0))))
early.start()
lower_priority()
ready.set()
late = threading.Thread(target=lambda: found.append(os.sched_getscheduler(0)))
late.start()
early.join(), late.join()
assert found == [os.SCHED_IDLE] * 2, found
assert psutil.Process().ionice().ioclass == psutil.IOPRIO_CLASS_IDLE
import sys
assert "torch" not in sys.modules
"""
    subprocess.run([sys.executable, "-P", "-c", script], check=True)


def test_without_a_scheduling_class_the_process_is_as_nice_as_it_can_be():
    script = """
import os
from petavox.workflows.models.idle import lower_priority
def forbidden(*_):
    raise PermissionError
os.sched_setscheduler = forbidden
lower_priority()
assert os.nice(0) == 19
"""
    subprocess.run([sys.executable, "-P", "-c", script], check=True)
