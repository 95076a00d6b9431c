"""Writes the scripts of jobs: plain text, nothing else is ever submitted."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from ..quantities import parse_seconds
from ..worker import ENVIRONMENT
from .jobs import DriverJob, Job, Jobs
from .queue import BatchQueue, Header

_QUIET = {"DASK_LOGGING__DISTRIBUTED": "warning", "PYTHONWARNINGS": "ignore:resource_tracker"}


def job_name(run: str, part: str) -> str:
    """Returns the name of all jobs of a part ("cpu", "gpu", "driver") of the run with an id."""
    return f"petavox-{run}-{part}"


def worker_script(queue: BatchQueue, jobs: Jobs, pool: str, run: str, folder: Path, count: int) -> str:
    """Writes the script of an array of worker jobs.

    Args:
        queue: batch system that the script is written for.
        jobs: description of each job.
        pool: pool that the workers belong to.
        run: its id.
        folder: folder of the run's jobs, see `Folder`.
        count: number of jobs.
    """
    command = [
        *(sys.executable, "-P", "-m", "petavox.cluster.batch.worker"),
        *("--session", str(folder / "session.json")),
        *("--pool", pool),
        *("--memory", str(jobs.worker_memory)),
    ]
    body = [
        f'export TMPDIR="{jobs.scratch}" && mkdir -p "$TMPDIR"',
        *(f"export {name}={value}" for name, value in {**ENVIRONMENT, **_QUIET}.items()),
        *(() if pool == "gpu" else ("export CUDA_VISIBLE_DEVICES=",)),  # GPUs of its node are for others
        f'exec {shlex.join(command)} --job "{queue.array_id}"',
    ]
    return _script(queue, Header(job_name(run, pool), jobs, folder / "logs", pool, array=count), body)


def driver_script(
    queue: BatchQueue, job: DriverJob, run: str, folder: Path, command: Sequence[str], after: str | None = None
) -> str:
    """Writes the script of a driver's job.

    Args:
        queue: batch system that the script is written for.
        job: description of the job.
        run: its id.
        folder: folder of the run's jobs, see `Folder`.
        command: command that drives the run; it gets the signal USR1 when the walltime is near.
        after: a job that this one takes over from, if that ends in any way but well.
    """
    header = Header(
        job_name(run, "driver"),
        job,
        folder / "logs",
        "driver",
        signal=parse_seconds(job.margin),
        after=after,
        requeue=True,
    )
    return _script(queue, header, [f"export PYTHONSAFEPATH=1\nexec {shlex.join(command)}"])


def _script(queue: BatchQueue, header: Header, body: Iterable[str]) -> str:
    """A job script: what it asks for, what the job wants to come first, and then the body."""
    job: Job = header.job
    setup = [*(f"module load {shlex.quote(module)}" for module in job.modules), *job.prologue]
    return "\n".join(["#!/bin/bash", *queue.header(header), "", *setup, *body]) + "\n"
