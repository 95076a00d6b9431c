"""The run loop: keeps as many tasks in flight as can run, writes down what became of each, retries, sets aside."""

from __future__ import annotations

import heapq
import logging
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..cluster import Completion, Executor, PoolName
from ..pipeline.errors import RequestError, StorageError
from .attempt import Attempt, Failure
from .ledger import Ledger, Row
from .progress import Progress
from .readiness import BLOCKED, FAILED, Readiness, Task
from .stages import Stage

MAX_FAILURES = 3
MAX_LOSSES = 6  # more, since a worker that is killed from outside is not the task's fault
_WAIT = 0.5

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Result:
    """How many tasks were set aside, and how many were not run because they need one of those."""

    failed: int
    blocked: int


class Loop:
    """Runs stages to their end.

    Args:
        stages: each after those that it needs.
        fingerprints: of each stage, by name.
        done: of each stage, by name, which tasks are done already.
        ledger: every attempt is written there as soon as it ends.
        executor: runs `attempt.perform`.
        progress: is told of everything that ends.
        backoff: seconds before the first retry of a task; doubled for every further one.
    """

    def __init__(
        self,
        stages: Sequence[Stage],
        fingerprints: Mapping[str, str],
        done: Mapping[str, npt.NDArray[np.bool_]],
        ledger: Ledger,
        executor: Executor,
        progress: Progress,
        backoff: float = 1.0,
    ) -> None:
        self._stages, self._fingerprints = stages, fingerprints
        self._ledger, self._executor, self._progress = ledger, executor, progress
        self._backoff = backoff
        self._configs = [stage.config.model_dump_json() for stage in stages]
        progress.begin([(stage.name, len(stage), int(done[stage.name].sum())) for stage in stages])
        self._readiness = Readiness(stages, done)
        self._pools: list[PoolName] = ["gpu" if stage.resources.gpu else "cpu" for stage in stages]
        self._in_flight: Counter[PoolName] = Counter()
        self._retries: list[tuple[float, Task]] = []
        self._failures: dict[Task, int] = {}
        self._losses: dict[Task, int] = {}

    def run(self) -> Result:
        """Run everything that can be run.

        Raises:
            RequestError: a task found the request to be wrong; other blocks would find the same.
            StorageError: storage refused for good; other blocks would fare no better.
        """
        while self._fill():
            completions = self._executor.completed(self._patience())
            self._in_flight.subtract(self._pools[completion.key.stage] for completion in completions)
            self._settle([(completion.key, _attempt(completion)) for completion in completions])
        count = self._readiness.count
        positions = range(len(self._stages))
        return Result(sum(count(i, FAILED) for i in positions), sum(count(i, BLOCKED) for i in positions))

    def _fill(self) -> bool:
        """Submit until every pool is busy; whether there is anything left to wait for."""
        while (room := self._room()) and (task := self._next(room)):
            stage, pool = self._stages[task.stage], self._pools[task.stage]
            self._executor.submit(task, pool, stage.task, self._configs[task.stage], stage.index(task.number))
            self._in_flight[pool] += 1
        if not self._in_flight.total() and self._retries and room:
            time.sleep(max(0.0, self._retries[0][0] - time.monotonic()))
        return self._readiness.left > 0

    def _room(self) -> set[PoolName]:
        """The pools that can take another call."""
        return {pool for pool, size in self._executor.capacity().items() if self._in_flight[pool] < size}

    def _next(self, room: set[PoolName]) -> Task | None:
        due = self._retries and self._retries[0][0] <= time.monotonic()
        if due and self._pools[self._retries[0][1].stage] in room:
            return heapq.heappop(self._retries)[1]
        return self._readiness.take(lambda position: self._pools[position] in room)

    def _patience(self) -> float:
        """How long to wait for a completion: until the next retry is due, but never long, so as to hear a signal."""
        if not self._retries or not self._room():
            return _WAIT
        return min(_WAIT, max(0.0, self._retries[0][0] - time.monotonic()))

    def _settle(self, attempts: Sequence[tuple[Task, Attempt]]) -> None:
        """Write attempts down first; only then does anything follow from them."""
        if attempts:
            self._ledger.record(self._row(task, attempt) for task, attempt in attempts)
        for task, attempt in attempts:
            if attempt.failure is None:
                self._readiness.finish(task)
                self._progress.advance(self._stages[task.stage].name)
            else:
                self._retry_or_give_up(task, attempt.failure)

    def _retry_or_give_up(self, task: Task, failure: Failure) -> None:
        name = f"{self._stages[task.stage].name} {self._stages[task.stage].index(task.number)}"
        log.warning("%s failed: %s\n%s", name, failure.reason, failure.trace)
        if failure.request:
            raise RequestError(f"{name}: {failure.reason}")
        tries, most = (self._losses, MAX_LOSSES) if failure.lost else (self._failures, MAX_FAILURES)
        tries[task] = tries.get(task, 0) + 1
        if tries[task] < most:
            delay = self._backoff * 2 ** (tries[task] - 1)
            heapq.heappush(self._retries, (time.monotonic() + delay, task))
        elif failure.storage:
            raise StorageError(f"{name}: {failure.reason}")
        else:
            self._readiness.give_up(task)
            self._progress.advance(self._stages[task.stage].name, failed=True)

    def _row(self, task: Task, attempt: Attempt) -> Row:
        name = self._stages[task.stage].name
        outcome, failure = attempt.outcome, attempt.failure
        return Row(
            stage=name,
            number=task.number,
            state=outcome.state if outcome else "failed",
            fingerprint=self._fingerprints[name],
            seconds=attempt.seconds,
            worker=attempt.worker,
            peak_memory=attempt.peak_memory,
            voxels=outcome.voxels if outcome else 0,
            counts=outcome.counts if outcome else None,
            error=f"{failure.reason}\n{failure.trace}" if failure else None,
        )


def _attempt(completion: Completion) -> Attempt:
    """What the worker recorded, or, where it could not, what the executor knows."""
    if completion.lost:
        reason = f"its worker died: {completion.reason or 'killed from outside, crashed, or above its memory limit'}"
        return Attempt(None, 0.0, 0, "", Failure(reason, lost=True))
    if completion.error is not None:
        return Attempt(None, 0.0, 0, "", Failure(completion.error.strip().splitlines()[-1], completion.error))
    attempt: Attempt = completion.value
    return attempt
