"""Killing workers and drivers without warning loses nothing that is done, and leaves no process behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from fakes import blocks
from fakes.driver import LENGTH

from petavox.workflows.run_directory.ledger import Ledger

TESTS = Path(__file__).parents[2]


def start_driver(folder):
    path = os.pathsep.join([str(TESTS), *filter(None, [os.environ.get("PYTHONPATH")])])
    with (folder / "driver.txt").open("a") as said:
        return subprocess.Popen(
            [sys.executable, "-P", "-m", "fakes.driver", str(folder)],
            env={**os.environ, "PYTHONPATH": path},
            stderr=said,
        )


def wait_until(condition, driver):
    deadline = time.monotonic() + 120
    while not condition():
        assert driver.poll() is None, "the driver ended too early"
        assert time.monotonic() < deadline
        time.sleep(0.02)


def done(folder):
    """(stage, number) of every task that the ledger holds as done."""
    if not (folder / "ledger.sqlite").exists():
        return set()
    with Ledger(folder / "ledger.sqlite", readonly=True) as ledger:
        return {(stage, int(n)) for stage in "abc" for n in ledger.done(stage, LENGTH, "fingerprint").nonzero()[0]}


def begun(folder):
    """How often each task was begun, by (stage, number)."""
    return {(stage, number): count for stage in "abc" for number, count in blocks.tries(folder, stage).items()}


def workers_of(driver):
    return [child for child in psutil.Process(driver.pid).children() if "spawn_main" in " ".join(child.cmdline())]


@pytest.fixture
def run(tmp_path):
    (tmp_path / "run").mkdir()
    return tmp_path / "run"


def test_after_kill_9_of_a_worker_and_of_the_driver_the_same_command_ends_the_run_and_redoes_nothing(run):
    driver = start_driver(run)
    wait_until(lambda: (run / "ledger.sqlite").exists() and (run / "a").exists() and len(done(run)) >= 4, driver)
    workers = workers_of(driver)
    assert len(workers) == 2
    workers[0].send_signal(signal.SIGKILL)
    before = len(done(run))
    wait_until(lambda: len(done(run)) >= before + 8, driver)

    children = psutil.Process(driver.pid).children(recursive=True)
    driver.kill()
    driver.wait()
    _, alive = psutil.wait_procs(children, timeout=30)
    assert not alive, "a dead driver leaves no process behind"
    kept, tries = done(run), begun(run)

    again = start_driver(run)
    assert again.wait(240) == 0, (run / "driver.txt").read_text()
    assert len(done(run)) == 3 * LENGTH
    assert {task: count for task, count in begun(run).items() if task in kept} == {task: tries[task] for task in kept}
    assert sum(begun(run).values()) <= 3 * LENGTH + 1 + 2, "one was cut short with its worker, two with the driver"
    for stage in "abc":
        assert blocks.results(run, stage) == {n: n for n in range(LENGTH)}
