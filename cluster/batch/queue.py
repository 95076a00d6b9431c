"""Defines the queue of a batch system as petavox uses it. Each system is a dialect, in a file of its own."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from ...pipeline.errors import QueueError
from .jobs import Job


@dataclass(frozen=True)
class QueuedJob:
    """Describes a job in the queue.

    Args:
        id: "131_0" where it is one of an array.
        name: name of the job, as its script says.
        state: PENDING, RUNNING, COMPLETING, or what else the system calls it while the job is still to be waited for.
        left: seconds until its walltime, if it runs and has one.
        reason: why it waits, in the system's words.
    """

    id: str
    name: str
    state: str
    left: float | None = None
    reason: str = ""

    @property
    def pending(self) -> bool:
        return self.state == "PENDING"

    @property
    def ending(self) -> bool:
        return self.state == "COMPLETING"


@dataclass(frozen=True)
class Header:
    """Describes what a script asks the batch system for.

    Args:
        name: name of the job.
        job: its resources, as the recipe describes them.
        logs: folder of the logs.
        log: name of the log of a single job; those of an array are named after the pool and their id.
        array: number of jobs of one kind; None for a single job.
        signal: seconds before its walltime at which the job gets the signal USR1.
        after: id of a job that this one takes over from, if that ends in any way but well.
        requeue: whether the system may start it again after its node was lost.
    """

    name: str
    job: Job
    logs: Path
    log: str
    array: int | None = None
    signal: float | None = None
    after: str | None = None
    requeue: bool = False


class BatchQueue(Protocol):
    """Speaks to a batch system. Its methods raise `QueueError` where it does not answer, or refuses."""

    name: str
    """As people call it, for messages."""

    array_id: str
    """What a shell in a job of an array expands to the job's id, as `jobs` lists it."""

    def check_available(self) -> None:
        """Make sure that jobs can be submitted from here.

        Raises:
            RequestError: the system's commands are not there.
        """

    def header(self, header: Header) -> list[str]:
        """Writes the lines of a script that say what its job asks for."""
        ...

    def submit(self, script: str) -> str:
        """Submits a script; returns the id of its job."""
        ...

    def jobs(self, names: Iterable[str]) -> list[QueuedJob]:
        """Lists one's own jobs of these names that wait, run, or are about to end."""
        ...

    def cancel(self, ids: Sequence[str]) -> None:
        """End jobs; those that have ended already do no harm."""

    def may_pass(self, error: QueueError) -> bool:
        """Tells whether the system may do later what it refuses now."""
        ...

    def this_job(self) -> str:
        """Returns the id of the job that this process runs in."""
        ...

    def description(self) -> str:
        """Describes the system: its version and the partitions that one can see."""
        ...
