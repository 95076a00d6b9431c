"""Decides how many jobs a pool should have, and which may go, from what the queue and the roster show.

Each round compares the two:

1. `_retire` workers whose walltime is near, and idle ones beyond what is wanted.
2. `_ended`: jobs that have left the queue; those whose worker never came up count as failed starts.
3. `decide`: submit what is missing, cancel what waits without need, and what is retired and idle.
"""

from __future__ import annotations

import zlib
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field

from ..executor import PoolName, worker_name
from ..quantities import parse_seconds
from ..roster import Worker
from .jobs import Jobs
from .queue import QueuedJob

IDLE = 60.0  # seconds after which a worker that nobody needs goes
FAILED_STARTS = 5  # rounds in a row after which the run is stopped
BATCH = 500  # clusters allow arrays of a thousand or so
_AFTER_REFUSAL = 10.0
_LONGEST = 1.5  # a worker retires this many of the longest calls so far before its walltime


@dataclass(frozen=True)
class Decision:
    """Holds one round's decision: jobs to submit, ids of jobs to cancel, names of workers that get no further call."""

    submit: int = 0
    cancel: Sequence[str] = ()
    retire: Collection[str] = ()


@dataclass
class Pool:
    """Follows the jobs of one pool over time.

    Args:
        name: "cpu" or "gpu".
        jobs: description of each job, and the fewest and most there may be.
        ready: calls that could run now.
        batch: jobs to submit at once; fewer after a refusal, since the limit of a user may leave room for some.
        failed_starts: rounds in a row in which jobs ended before their workers came up.
        failed: the last such job.
    """

    name: PoolName
    jobs: Jobs
    ready: int = 0
    batch: int = BATCH
    failed_starts: int = 0
    failed: str = ""
    _known: set[str] = field(default_factory=set)
    _cancelled: set[str] = field(default_factory=set)
    _no_sooner: float = 0.0

    def worker(self, job: str) -> str:
        """Returns the name of a job's worker."""
        return worker_name(self.name, job)

    def wanted(self, workers: Iterable[Worker]) -> int:
        """Counts the jobs that there should be, beside those that are retiring."""
        busy = sum(worker.call is not None and not worker.retiring for worker in workers)
        return max(busy, min(max(self.ready, self.jobs.minimum), self.jobs.maximum))

    def decide(
        self, queue: Sequence[QueuedJob], workers: Sequence[Worker], seen: Collection[str], longest: float, now: float
    ) -> Decision:
        """Decides one round.

        Args:
            queue: the pool's jobs that are in the queue.
            workers: workers of the pool that are registered now.
            seen: names of all workers that ever registered.
            longest: seconds of the longest call so far.
            now: monotonic seconds.
        """
        self._judge(queue, seen, now)
        wanted = self.wanted(workers)
        known = {worker.name: worker for worker in workers}
        retire = {name for name in self._near_walltime(queue, longest) if name in known}
        staying = [job for job in queue if not self._leaves(job, known, retire)]
        surplus = len(staying) - wanted
        waiting = [job.id for job in staying if job.pending][: -surplus - 1 : -1] if surplus > 0 else []
        retire |= set(self._idle(known, staying, surplus - len(waiting), now))
        going = [
            job.id
            for job in queue
            if (worker := known.get(self.worker(job.id))) and worker.retiring and worker.call is None
        ]
        self._cancelled |= {*waiting, *going}
        missing = min(max(-surplus, 0), self.batch) if now >= self._no_sooner else 0
        return Decision(missing, [*waiting, *going], retire)

    def submitted(self, job: str, count: int) -> None:
        """Notes that an array of jobs is in the queue."""
        self._known |= {f"{job}_{n}" for n in range(count)}
        self.batch = min(2 * self.batch, BATCH)

    def refused(self, now: float) -> None:
        """Notes that no job could be submitted: the pool waits, and asks for fewer."""
        self.batch = max(1, self.batch // 2)
        self._no_sooner = now + _AFTER_REFUSAL

    def _leaves(self, job: QueuedJob, known: dict[str, Worker], retire: Collection[str]) -> bool:
        name = self.worker(job.id)
        return job.ending or job.id in self._cancelled or name in retire or (name in known and known[name].retiring)

    def _judge(self, queue: Sequence[QueuedJob], seen: Collection[str], now: float) -> None:
        """Count the rounds in which jobs have ended whose workers never came up."""
        there = {job.id for job in queue if not job.ending}
        ended = self._known - there
        failed = sorted(job for job in ended - self._cancelled if self.worker(job) not in seen)
        if any(self.worker(job) in seen for job in self._known):
            self.failed_starts = 0
        self._known = there | (self._known & there)
        self._cancelled &= {job.id for job in queue}
        if failed:
            self.failed_starts += 1
            self.failed = self.worker(failed[-1])
            self._no_sooner = now + 2.0**self.failed_starts

    def _near_walltime(self, queue: Sequence[QueuedJob], longest: float) -> Iterable[str]:
        """Workers of jobs that end soon; not all at once, where they were started together."""
        limit = parse_seconds(self.jobs.walltime)
        margin = min(max(parse_seconds(self.jobs.margin), _LONGEST * longest + 60), limit / 2)
        for job in queue:
            stagger = zlib.crc32(job.id.encode()) / 2**32
            if job.left is not None and job.left < margin * (1 + stagger / 2):
                yield self.worker(job.id)

    def _idle(self, known: dict[str, Worker], staying: Sequence[QueuedJob], surplus: int, now: float) -> Iterable[str]:
        """Workers that have had nothing to do for long, up to so many."""
        idle = [
            worker.name
            for job in staying
            if (worker := known.get(self.worker(job.id))) and worker.call is None and now - worker.since > IDLE
        ]
        return idle[: max(surplus, 0)]
