"""What happens to jobs: cancelled, out of walltime, on nodes that are drained or lost, and without their driver."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from unittest import mock

from .case import Case, Fault, UnavailableError
from .driver import GRACE, PATIENCE, books

CANCELLED = 3
POOL = """
[cluster.pools.cpu]
memory = "1.8GB"
maximum = {maximum}
walltime = "{walltime}"
margin = "{margin}"
"""


@dataclass(frozen=True)
class QueuedJob:
    """A line of squeue."""

    id: str
    name: str
    state: str
    node: str

    @property
    def works(self) -> bool:
        return self.state == "RUNNING" and not self.name.endswith("-driver")


@contextlib.contextmanager
def _slurm(case: Case, maximum: int = 2, walltime: str = "10min", margin: str = "1min") -> Iterator[Callable[..., str]]:
    """Have a case run on a SLURM of its own; yields what an administrator says to that.

    Raises:
        UnavailableError: it cannot be started here.
    """
    machine = _one_machine()
    machine.FOLDER = Path(tempfile.mkdtemp(prefix="petavox-chaos-"))
    machine.CONF = machine.FOLDER / "slurm.conf"
    try:
        machine.up()
        pool = POOL.format(maximum=maximum, walltime=walltime, margin=margin)
        case.recipe = case.job.recipe(case.folder, "slurm", pool)
        with mock.patch.dict(os.environ, SLURM_CONF=str(machine.CONF)):
            yield machine.scontrol
    except machine.CannotStartError as error:
        raise UnavailableError(f"no SLURM: {error}") from error
    finally:
        case.close()
        machine.down()


def _one_machine() -> ModuleType:
    """The SLURM that tests start."""
    path = Path(__file__).parents[2] / "tests" / "slurm" / "one_machine.py"
    spec = importlib.util.spec_from_file_location("one_machine", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _jobs(case: Case) -> list[QueuedJob]:
    """What the queue holds of a run."""
    with contextlib.suppress(OSError, ValueError):
        name = json.loads((case.run / "cluster" / "id.json").read_text(encoding="utf-8"))["id"]
        queue = ["squeue", "--noheader", "--array", "--format=%i|%j|%T|%N"]
        lines = subprocess.run(queue, capture_output=True, text=True, check=True).stdout.splitlines()
        jobs = [QueuedJob(*line.strip().split("|")) for line in lines if f"petavox-{name}-" in line]
        return [job for job in jobs if job.state in ("RUNNING", "PENDING", "COMPLETING", "CONFIGURING")]
    return []


def _no_job_left(case: Case) -> None:
    deadline = time.monotonic() + GRACE
    while (left := _jobs(case)) and time.monotonic() < deadline:
        time.sleep(0.5)
    case.expect(not left, f"{len(left)} jobs were left after 60 s")
    if left:
        subprocess.run(["scancel", *(job.id for job in left)])


def worker_cancelled(case: Case) -> None:
    """Jobs of workers are cancelled, one after the other."""
    with _slurm(case):
        driver = case.start()
        while case.injected < CANCELLED and case.under_way(driver, more=case.random.randint(2, 20)):
            if working := [job for job in _jobs(case) if job.works]:
                subprocess.run(["scancel", case.random.choice(working).id], check=True)
                case.injected += 1
        case.complete(driver)
        _no_job_left(case)
    case.expect(case.injected == CANCELLED, f"the run ended after {case.injected} of {CANCELLED}")


def node_drained(case: Case) -> None:
    """The node of a worker is drained, and then lost."""
    with _slurm(case) as scontrol:
        driver = case.start()
        case.well_under_way(driver, more=case.random.randint(2, 20))
        driver.until(lambda: any(job.works for job in _jobs(case)))
        node = case.random.choice([job for job in _jobs(case) if job.works]).node
        for state in ("DRAIN", "DOWN"):
            scontrol("update", f"NodeName={node}", f"State={state}", "Reason=chaos")
            case.injected += 1
            case.under_way(driver, more=case.random.randint(2, 20))
        case.complete(driver)
        _no_job_left(case)


def walltime(case: Case) -> None:
    """One job at a time, of a minute each: several have to follow one another."""
    with _slurm(case, maximum=1, walltime="1min", margin="20s"):
        case.complete()
        _no_job_left(case)
    case.injected = len(list((case.run / "cluster" / "logs").glob("cpu-*"))) - 1
    case.expect(case.injected > 0, "the run ended within the walltime of its first job")


def driver_killed(case: Case) -> None:
    """Kill −9 of the driver, whose workers are jobs."""
    with _slurm(case):
        driver = case.start()
        case.well_under_way(driver, more=case.random.randint(5, 60))
        driver.kill()
        case.injected += 1
        case.nothing_left_of(driver)
        _no_job_left(case)
        before = books(case.run)
        case.complete()
        _no_job_left(case)
    case.compare(before)


def driver_job_killed(case: Case) -> None:
    """The driver is a job itself, and is killed −9; its successor goes on."""
    with _slurm(case):
        _submit(case)
        _until(lambda: case.done > 10)
        case.pause(0.0, 3.0)
        for job in _jobs(case):
            if job.name.endswith("-driver") and job.state == "RUNNING":
                subprocess.run(["scancel", "--full", "--signal=KILL", job.id], check=True)
                case.injected += 1
        before = books(case.run)
        case.expect(case.injected == 1, f"{case.injected} drivers were there to be killed")
        _until(lambda: not _jobs(case))
        case.tally()
        case.complete()  # finds everything done
        _no_job_left(case)
    case.compare(before)


def _submit(case: Case) -> None:
    driver = case.start("submit", str(case.recipe), "--run", str(case.run))
    status = driver.wait()
    if "No such command" in driver.said:
        raise UnavailableError("there is no `petavox submit`")
    case.expect(status == 0, f"exit status {status} of `petavox submit`: {driver.said[-300:]}")


def _until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.5)


FAULTS = (
    Fault(
        "slurm-worker-cancelled",
        f"scancel of a worker's job, {CANCELLED} times",
        "replaced, the run completes; no job is left after 60 s",
        worker_cancelled,
    ),
    Fault(
        "slurm-node-drained",
        "the node of a worker is drained, then down",
        "the run goes on elsewhere and completes; no job is left after 60 s",
        node_drained,
    ),
    Fault(
        "slurm-walltime",
        "jobs reach their walltime of a minute",
        "workers retire before it, others follow, the run completes; no job is left after 60 s",
        walltime,
    ),
    Fault(
        "slurm-driver-killed",
        "kill −9 of the driver, and of the scheduler in it",
        "no job is left after 60 s; `petavox run` again completes, nothing done is redone",
        driver_killed,
    ),
    Fault(
        "slurm-driver-job-killed",
        "kill −9 of the job in which the driver runs",
        "its successor completes the run, nothing done is redone; no job is left in the end",
        driver_job_killed,
    ),
)
