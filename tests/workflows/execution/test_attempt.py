"""What workers make of a call: a record of every attempt, within the call's time, and an end to what hangs."""

from __future__ import annotations

import errno
import pickle
import subprocess
import sys
from types import ModuleType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from petavox.pipeline.errors import AffinityError, StorageError
from petavox.tasks.contract import Outcome, TaskConfig
from petavox.workflows.execution import attempt
from petavox.workflows.execution.attempt import Terms
from petavox.workflows.execution.time_limit import Hangs


def module(run):
    """A task's module, as far as an attempt needs it."""
    task = ModuleType("task")
    vars(task).update(Config=TaskConfig, run=run)
    return task


def raising(error):
    def run(config, index):
        raise error

    return module(run)


@given(st.integers(1, 8), st.sets(st.integers(0, 7)))
def test_every_task_of_a_call_is_tried_whatever_becomes_of_the_others(count, bad):
    def run(config, index):
        if index[2] in bad:
            raise ValueError(f"bad block {index[2]}")
        return Outcome(voxels=index[2])

    report = attempt.measure(module(run), "{}", [(0, 0, n) for n in range(count)], Terms(60.0))
    assert pickle.loads(pickle.dumps(report)) == report
    assert report.peak_memory > 0
    assert len(report.attempts) == count
    for n, made in enumerate(report.attempts):
        assert 0 <= made.seconds <= report.seconds
        if n in bad:
            assert made.outcome is None
            assert made.failure is not None
            assert made.failure.reason == f"ValueError: bad block {n}"
            assert "in run" in made.failure.trace
        else:
            assert (made.outcome, made.failure) == (Outcome(voxels=n), None)


def test_the_first_task_of_a_call_is_begun_and_no_other_after_its_time():
    begun = []
    report = attempt.measure(
        module(lambda config, index: begun.append(index) or Outcome()), "{}", [(0, 0, 0), (0, 0, 1)], Terms(0.0)
    )
    assert len(report.attempts) == 1
    assert begun == [(0, 0, 0)]


@pytest.mark.parametrize(
    ("error", "wrong", "refused"),
    [
        (ValueError("no"), False, False),
        (AffinityError("NaN"), True, False),
        (StorageError("full"), False, True),
        (OSError(errno.ENOSPC, "full"), False, True),
        (OSError(errno.ENOENT, "gone"), False, False),
    ],
)
def test_what_no_retry_helps_is_told_apart(error, wrong, refused):
    (made,) = attempt.measure(raising(error), "{}", [(0, 0, 0)], Terms(1.0)).attempts
    assert made.failure is not None
    assert (made.failure.request, made.failure.storage) == (wrong, refused)


def test_a_task_within_its_limit_leaves_no_file_and_no_timer(tmp_path):
    terms = Terms(0.0, limit=0.2, trace=str(tmp_path / "trace.txt"))
    for _ in range(3):
        attempt.measure(module(lambda config, index: Outcome()), "{}", [(0, 0, 0)], terms)
    assert not list(tmp_path.iterdir())
    assert attempt.measure(raising(ValueError()), "{}", [(0, 0, 0)], terms).attempts[0].failure
    assert not list(tmp_path.iterdir())


HANGING = """
import sys, numba
from petavox.tasks.contract import Outcome, TaskConfig
from petavox.workflows.execution import attempt

Config = TaskConfig

@numba.njit("int64()", nogil=True)
def spin():
    n = 1
    while n:
        n = n + 2
    return n

def run(config, index):
    spin()

attempt.measure(sys.modules[__name__], "{}", [(0, 0, 0)], attempt.Terms(0.0, 0.5, sys.argv[1]))
"""


def test_a_kernel_that_hangs_without_the_interpreter_ends_with_its_process_and_leaves_word_of_where_it_was(tmp_path):
    with Hangs(tmp_path / "hangs", "0.5s") as hangs:
        seconds, file = hangs.watch(7)
        assert seconds == 0.5
        command = [sys.executable, "-P", "-c", HANGING, file]
        assert subprocess.run(command, capture_output=True, timeout=120).returncode == 1
        trace = hangs.trace(7)
        assert "in run" in trace
        assert trace.count("Thread 0x") + trace.count("Current thread") == 1, "only the thread of the task"
        assert hangs.trace(7) == "", "it is told once"
        assert hangs.trace(8) == ""
    assert not (tmp_path / "hangs").exists()


def test_without_a_folder_nothing_is_watched():
    with Hangs(None, "3s") as hangs:
        assert hangs.watch(1)[0] is None
        assert hangs.trace(1) == ""


class Torch(ModuleType):
    """A torch whose GPU has been used, and is broken or not."""

    def __init__(self, broken):
        super().__init__("torch")
        self.cuda = self
        self.broken = broken

    def is_initialized(self):
        return True

    def synchronize(self):
        if self.broken:
            raise RuntimeError("CUDA error: an illegal memory access was encountered")


@pytest.mark.parametrize("broken", [True, False])
def test_a_worker_with_a_broken_gpu_ends_so_that_its_task_is_tried_elsewhere(monkeypatch, broken):
    ended = []
    monkeypatch.setitem(sys.modules, "torch", Torch(broken))
    monkeypatch.setattr(attempt.multiprocessing, "parent_process", lambda: "the nanny")
    monkeypatch.setattr(attempt.os, "_exit", ended.append)
    attempt.measure(raising(RuntimeError("CUDA error: misaligned address")), "{}", [(0, 0, 0)], Terms(60))
    assert ended == ([70] if broken else [])


def test_a_driver_with_a_broken_gpu_goes_on_to_say_so(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", Torch(broken=True))
    report = attempt.measure(raising(RuntimeError("CUDA error: misaligned address")), "{}", [(0, 0, 0)], Terms(60))
    assert "misaligned address" in report.attempts[0].failure.reason
