"""Pools of SLURM jobs as recipes describe them, and the scripts of jobs: plain text, nothing else is ever submitted."""

from __future__ import annotations

import math
import shlex
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, NonNegativeInt, PositiveInt, model_validator

from ..quantities import Duration, Size, parse_bytes, parse_seconds
from ..worker import ENVIRONMENT

_QUIET = {"DASK_LOGGING__DISTRIBUTED": "warning", "PYTHONWARNINGS": "ignore:resource_tracker"}
SPARE = 0.1  # share of a job's memory that its worker leaves to the process that watches over it


def _one_line(text: str) -> str:
    if "\n" in text or not text.strip():
        raise ValueError("must be one line, and not empty")
    return text


def _option(text: str) -> str:
    if not _one_line(text).startswith("-"):
        raise ValueError('must be an option of sbatch, such as "--constraint=a100"')
    return text


Line = Annotated[str, AfterValidator(_one_line)]
Option = Annotated[str, AfterValidator(_option)]


class Job(BaseModel):
    """What a SLURM job is like."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    partition: Line | None = None  # SLURM's default unless given; likewise account and qos
    account: Line | None = None
    qos: Line | None = None
    walltime: Duration = "4h"
    margin: Duration = "10min"  # so long before its walltime it begins nothing new
    memory: Size = "8GB"
    cores: PositiveInt = 1
    modules: tuple[Line, ...] = ()  # loaded first
    prologue: tuple[Line, ...] = ()  # lines of shell that come next
    options: tuple[Option, ...] = ()  # of sbatch, such as "--constraint=a100"

    @model_validator(mode="after")
    def _long_enough(self) -> Job:
        if 2 * parse_seconds(self.margin) > parse_seconds(self.walltime):
            raise ValueError(f"'margin' must not exceed half of 'walltime'; found {self.margin} and {self.walltime}")
        return self

    def requests(self) -> Iterator[str]:
        """What a job asks SLURM for, as options of sbatch."""
        for name in ("partition", "account", "qos"):
            if value := getattr(self, name):
                yield f"--{name}={value}"
        yield from ("--nodes=1", "--ntasks=1", f"--cpus-per-task={self.cores}")
        yield f"--mem={-(-parse_bytes(self.memory) // 2**20)}M"
        yield f"--time={math.ceil(parse_seconds(self.walltime) / 60)}"


class DriverJob(Job):
    """The job of a driver: it computes nothing itself."""

    walltime: Duration = "1d"
    memory: Size = "4GB"


class Jobs(Job):
    """A pool of SLURM jobs, each with one worker, which may use nine tenths of the job's memory."""

    minimum: NonNegativeInt = 0  # jobs that are kept even if there is nothing for them to do
    maximum: PositiveInt = 10  # jobs at the same time
    scratch: Line = "${TMPDIR:-/tmp}"  # folder on a node's own disk; the shell there fills in variables

    @model_validator(mode="after")
    def _in_order(self) -> Jobs:
        if self.minimum > self.maximum:
            raise ValueError(f"'minimum' must not exceed 'maximum'; found {self.minimum} and {self.maximum}")
        return self

    @property
    def worker_memory(self) -> int:
        """Bytes that a worker may use before it is killed and replaced."""
        return int(parse_bytes(self.memory) * (1 - SPARE))


class GpuJobs(Jobs):
    """A pool of SLURM jobs with GPUs."""

    gpus: PositiveInt = 1  # of a job
    gres: Line = "gpu"  # SLURM's name for them, such as "gpu:a100"

    def requests(self) -> Iterator[str]:
        yield from super().requests()
        yield f"--gres={self.gres}:{self.gpus}"


def job_name(run: str, part: str) -> str:
    """The name of all jobs of a part ("cpu", "gpu", "driver") of the run with an id."""
    return f"petavox-{run}-{part}"


def worker_script(jobs: Jobs, pool: str, run: str, folder: Path, count: int) -> str:
    """The script of an array of worker jobs.

    Args:
        jobs: what each of them is like.
        pool: that the workers belong to.
        run: its id.
        folder: of the run's jobs, see `Folder`.
        count: of jobs.
    """
    command = [
        *(sys.executable, "-P", "-m", "petavox.cluster.batch.worker"),
        *("--session", str(folder / "session.json")),
        *("--pool", pool),
        *("--memory", str(jobs.worker_memory)),
    ]
    options = [
        f"--job-name={job_name(run, pool)}",
        f"--array=0-{count - 1}",
        f"--output={_pattern(folder / 'logs')}/{pool}-%A_%a.txt",
        "--no-requeue",
        *jobs.requests(),
        *jobs.options,
    ]
    body = [
        f'export TMPDIR="{jobs.scratch}" && mkdir -p "$TMPDIR"',
        *(f"export {name}={value}" for name, value in {**ENVIRONMENT, **_QUIET}.items()),
        *(() if pool == "gpu" else ("export CUDA_VISIBLE_DEVICES=",)),  # GPUs of its node are for others
        f"exec {shlex.join(command)}",
    ]
    return _script(options, jobs, body)


def driver_script(job: DriverJob, run: str, folder: Path, command: Sequence[str], after: str | None = None) -> str:
    """The script of a driver's job.

    Args:
        job: what it is like.
        run: its id.
        folder: of the run's jobs, see `Folder`.
        command: that drives the run; it gets the signal USR1 when the walltime is near.
        after: a job that this one takes over from, if that ends in any way but well.
    """
    options = [
        f"--job-name={job_name(run, 'driver')}",
        f"--output={_pattern(folder / 'logs')}/driver.txt",
        "--open-mode=append",
        "--requeue",
        f"--signal=B:USR1@{round(parse_seconds(job.margin))}",
        *((f"--dependency=afternotok:{after}", "--kill-on-invalid-dep=yes") if after else ()),
        *job.requests(),
        *job.options,
    ]
    return _script(options, job, [f"export PYTHONSAFEPATH=1\nexec {shlex.join(command)}"])


def _script(options: Iterable[str], job: Job, body: Iterable[str]) -> str:
    """A job script: options of sbatch, what the job wants to come first, and then the body."""
    setup = [*(f"module load {shlex.quote(module)}" for module in job.modules), *job.prologue]
    return "\n".join(["#!/bin/bash", *(f"#SBATCH {option}" for option in options), "", *setup, *body]) + "\n"


def _pattern(path: Path) -> str:
    """A path in which sbatch finds nothing to fill in."""
    return str(path).replace("%", "%%")
