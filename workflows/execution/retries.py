"""Retries: which failed tasks are tried again, when, and after how many tries a task is given up."""

from __future__ import annotations

import heapq
import time
from collections.abc import Iterable

from ...cluster import PoolName
from .attempt import Failure
from .ready_tasks import Task

MAX_FAILURES = 3
MAX_LOSSES = 6  # more, since a worker that is killed from outside is not the task's fault
BACKOFF = 1.0
"""Seconds before the first retry of a task; doubled for every further one."""


class Retries:
    """Counts the tries of each task, and keeps failed tasks until their next try is due.

    Args:
        pools: pools that tasks run in.
        backoff: seconds before the first retry of a task; doubled for every further one.
    """

    def __init__(self, pools: Iterable[PoolName], backoff: float = BACKOFF) -> None:
        self._backoff = backoff
        self._waiting: dict[PoolName, list[tuple[float, Task]]] = {pool: [] for pool in pools}
        self._failures: dict[Task, int] = {}
        self._losses: dict[Task, int] = {}

    def count(self, task: Task, failure: Failure) -> None:
        """Count a failure against a task; one that a whole call shares counts against none of its tasks."""
        if not failure.shared:
            tries = self._tries(failure)
            tries[task] = tries.get(task, 0) + 1

    def is_last(self, task: Task, failure: Failure) -> bool:
        """Tells whether a task is given up after this failure, which has not been counted yet.

        Tasks of a call that failed as a whole are tried alone first.
        """
        most = MAX_LOSSES if failure.lost else MAX_FAILURES
        return not failure.shared and self._tries(failure).get(task, 0) + 1 >= most

    def add(self, pool: PoolName, task: Task, failure: Failure) -> None:
        """Keep a task for another try, once the failure is counted."""
        due = time.monotonic() + self._backoff * 2 ** max(0, self._tries(failure).get(task, 0) - 1)
        heapq.heappush(self._waiting[pool], (due, task))

    def take(self, pool: PoolName) -> Task | None:
        """Returns the task of a pool whose retry is due first; None while none is due."""
        waiting = self._waiting.get(pool)
        if waiting and waiting[0][0] <= time.monotonic():
            return heapq.heappop(waiting)[1]
        return None

    def waiting(self) -> dict[PoolName, int]:
        """Returns the number of tasks of each pool that wait for a retry."""
        return {pool: len(waiting) for pool, waiting in self._waiting.items()}

    def next_due(self) -> float:
        """Returns the monotonic second at which the next retry is due; infinity where none waits."""
        return min((waiting[0][0] for waiting in self._waiting.values() if waiting), default=float("inf"))

    def _tries(self, failure: Failure) -> dict[Task, int]:
        return self._losses if failure.lost else self._failures
