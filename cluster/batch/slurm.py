"""Speaks to SLURM: sbatch, squeue and scancel, and the #SBATCH lines of scripts."""

from __future__ import annotations

import math
import os
import pwd
import re
import shutil
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from ...pipeline.errors import QueueError, RequestError
from ..quantities import parse_bytes, parse_seconds
from .jobs import GpuJobs, Job
from .queue import Header, QueuedJob

_TIMEOUT = 60.0
_FIELDS = "%i|%j|%T|%L|%r"
_OF_ANOTHER_JOB = re.compile(
    r"(SLURM|SBATCH)_(?!CONF$)|CUDA_VISIBLE_DEVICES$|GPU_DEVICE_ORDINAL$|ROCR_VISIBLE_DEVICES$"
)
_ENDED = {"CANCELLED", "COMPLETED", "FAILED", "TIMEOUT", "NODE_FAIL", "PREEMPTED", "BOOT_FAIL", "OUT_OF_MEMORY"}


class Slurm:
    """Speaks to SLURM, as this machine reaches it."""

    name = "SLURM"
    array_id = "${SLURM_ARRAY_JOB_ID}_${SLURM_ARRAY_TASK_ID}"

    def check_available(self) -> None:
        """Make sure that jobs can be submitted from here.

        Raises:
            RequestError: SLURM's commands are not there.
        """
        missing = [command for command in ("sbatch", "squeue", "scancel") if not shutil.which(command)]
        if missing:
            raise RequestError(
                f"SLURM's commands must be there to run on it; {', '.join(missing)} cannot be found on this machine."
                " Use a login node of the cluster, or --cluster local."
            )

    def header(self, header: Header) -> list[str]:
        """Writes the options of sbatch."""
        name = header.log if header.array is None else f"{header.log}-%A_%a"
        options = [f"--job-name={header.name}", f"--output={_pattern(header.logs)}/{name}.txt"]
        if header.array is not None:
            options.insert(1, f"--array=0-{header.array - 1}")
        else:
            options.append("--open-mode=append")
        options.append("--requeue" if header.requeue else "--no-requeue")
        if header.signal is not None:
            options.append(f"--signal=B:USR1@{round(header.signal)}")
        if header.after is not None:
            options += [f"--dependency=afternotok:{header.after}", "--kill-on-invalid-dep=yes"]
        return [f"#SBATCH {option}" for option in (*options, *_requests(header.job), *header.job.options)]

    def submit(self, script: str) -> str:
        """Submits a job script; returns the id of its job.

        Raises:
            QueueError: it was refused.
        """
        return _run(["sbatch", "--parsable"], script).strip().partition(";")[0]

    def jobs(self, names: Iterable[str]) -> list[QueuedJob]:
        """Lists one's own jobs of these names that wait, run, or are about to end.

        Raises:
            QueueError: the queue could not be read.
        """
        user = pwd.getpwuid(os.getuid()).pw_name
        lines = _run(
            ["squeue", "--noheader", "--array", f"--user={user}", f"--name={','.join(names)}", f"--format={_FIELDS}"]
        )
        found = [_job(*line.split("|", 4)) for line in lines.splitlines() if line.strip()]
        return [job for job in found if job.state not in _ENDED]

    def cancel(self, ids: Sequence[str]) -> None:
        """End jobs; those that have ended already do no harm.

        Raises:
            QueueError: SLURM cannot be reached.
        """
        for start in range(0, len(ids), 500):
            _run(["scancel", "--quiet", *ids[start : start + 500]])

    def may_pass(self, error: QueueError) -> bool:
        """Tells whether SLURM may do later what it refuses now: it is busy, or one has enough jobs already."""
        return bool(re.search(r"no answer|timed out|contact|temporar|again|limit", str(error), re.IGNORECASE))

    def this_job(self) -> str:
        """Returns the id of the job that this process runs in."""
        return os.environ["SLURM_JOB_ID"]

    def description(self) -> str:
        """Describes SLURM: its version and the partitions that one can see; the default one has a star.

        Raises:
            QueueError: SLURM does not answer.
        """
        version = _run(["sbatch", "--version"]).strip()
        return f"{version}; partitions {', '.join(_run(['sinfo', '--noheader', '--format=%P']).split())}"


def _requests(job: Job) -> Iterator[str]:
    """Lists the requests of a job as options of sbatch."""
    for name in ("partition", "account", "qos"):
        if value := getattr(job, name):
            yield f"--{name}={value}"
    yield from ("--nodes=1", "--ntasks=1", f"--cpus-per-task={job.cores}")
    yield f"--mem={-(-parse_bytes(job.memory) // 2**20)}M"
    yield f"--time={math.ceil(parse_seconds(job.walltime) / 60)}"
    if isinstance(job, GpuJobs):
        yield f"--gres={job.gres}:{job.gpus}"


def _pattern(path: Path) -> str:
    """A path in which sbatch finds nothing to fill in."""
    return str(path).replace("%", "%%")


def environment() -> dict[str, str]:
    """Copies this process's environment without what is meant for the job that it runs in: jobs inherit it."""
    return {name: value for name, value in os.environ.items() if not _OF_ANOTHER_JOB.match(name)}


def _job(id: str, name: str, state: str, left: str, reason: str) -> QueuedJob:
    return QueuedJob(id, name, state, _seconds(left) if state == "RUNNING" else None, reason)


def _seconds(text: str) -> float | None:
    """From squeue's 1-02:03:04, 2:03:04 or 3:04; None from UNLIMITED and the like."""
    days, _, clock = text.rpartition("-")
    try:
        total = int(days or 0) * 24
        parts = [int(part) for part in clock.split(":")]
    except ValueError:
        return None
    hours, minutes, seconds = [0, 0, *parts][-3:]
    return float(((total + hours) * 60 + minutes) * 60 + seconds)


def _run(command: Sequence[str], text: str = "") -> str:
    try:
        done = subprocess.run(
            command, input=text, capture_output=True, text=True, timeout=_TIMEOUT, env=environment(), check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise QueueError(f"{command[0]} gave no answer: {error}.") from error
    if done.returncode:
        raise QueueError(f"{command[0]}: {done.stderr.strip() or f'exit status {done.returncode}'}")
    return done.stdout
