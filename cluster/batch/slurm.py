"""SLURM's queue: thin wrappers of sbatch, squeue and scancel."""

from __future__ import annotations

import os
import pwd
import re
import shutil
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ...pipeline.errors import QueueError, RequestError

_TIMEOUT = 60.0
_FIELDS = "%i|%j|%T|%L|%r"
_OF_ANOTHER_JOB = re.compile(
    r"(SLURM|SBATCH)_(?!CONF$)|CUDA_VISIBLE_DEVICES$|GPU_DEVICE_ORDINAL$|ROCR_VISIBLE_DEVICES$"
)
_ENDED = {"CANCELLED", "COMPLETED", "FAILED", "TIMEOUT", "NODE_FAIL", "PREEMPTED", "BOOT_FAIL", "OUT_OF_MEMORY"}


@dataclass(frozen=True)
class Job:
    """A job in the queue.

    Args:
        id: "131_0" where it is one of an array.
        name: as its script says.
        state: SLURM's word for it, such as PENDING.
        left: seconds until its walltime, if it runs and has one.
        reason: why it waits, in SLURM's words.
    """

    id: str
    name: str
    state: str
    left: float | None = None
    reason: str = ""

    @property
    def pending(self) -> bool:
        return self.state == "PENDING"


def check_available() -> None:
    """Whether jobs can be submitted from here.

    Raises:
        RequestError: SLURM's commands are not there.
    """
    missing = [command for command in ("sbatch", "squeue", "scancel") if not shutil.which(command)]
    if missing:
        raise RequestError(
            f"SLURM's commands must be there to run on it; {', '.join(missing)} cannot be found on this machine."
            " Use a login node of the cluster, or --cluster local."
        )


def submit(script: str) -> str:
    """Submit a job script; its job's id.

    Raises:
        QueueError: it was refused.
    """
    return _run(["sbatch", "--parsable"], script).strip().partition(";")[0]


def jobs(names: Iterable[str]) -> list[Job]:
    """One's own jobs of these names that wait, run, or are about to end.

    Raises:
        QueueError: the queue could not be read.
    """
    user = pwd.getpwuid(os.getuid()).pw_name
    lines = _run(
        ["squeue", "--noheader", "--array", f"--user={user}", f"--name={','.join(names)}", f"--format={_FIELDS}"]
    )
    found = [_job(*line.split("|", 4)) for line in lines.splitlines() if line.strip()]
    return [job for job in found if job.state not in _ENDED]


def cancel(ids: Sequence[str]) -> None:
    """End jobs; those that have ended already do no harm.

    Raises:
        QueueError: SLURM cannot be reached.
    """
    for start in range(0, len(ids), 500):
        _run(["scancel", "--quiet", *ids[start : start + 500]])


def version() -> str:
    """SLURM's own."""
    return _run(["sbatch", "--version"]).strip()


def partitions() -> list[str]:
    """Those that one can see; the default one has a star.

    Raises:
        QueueError: SLURM does not answer.
    """
    return _run(["sinfo", "--noheader", "--format=%P"]).split()


def may_pass(error: QueueError) -> bool:
    """Whether SLURM may do later what it refuses now: it is busy or restarting, or one has enough jobs already."""
    return bool(re.search(r"no answer|timed out|contact|temporar|again|limit", str(error), re.IGNORECASE))


def environment() -> dict[str, str]:
    """That of this process without what is meant for the job that it runs in: jobs inherit it."""
    return {name: value for name, value in os.environ.items() if not _OF_ANOTHER_JOB.match(name)}


def _job(id: str, name: str, state: str, left: str, reason: str) -> Job:
    return Job(id, name, state, _seconds(left) if state == "RUNNING" else None, reason)


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
