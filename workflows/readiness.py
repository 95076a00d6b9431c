"""Which task can start now: block-level readiness across stages, at one byte a task.

Strategy: a task that cannot start watches one thing that it still needs, and looks again when that is settled. Of each
stage only a bounded number of tasks is looked at in advance, in order, so memory does not grow with the volume. That
cannot lock up: everything that the earliest unfinished stage needs is settled, so it always has a task that can start.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from .stages import Stage

PENDING, WAITING, STARTED, DONE, FAILED, BLOCKED = range(6)
LOOKAHEAD = 1024
_SCAN = 1 << 16


class Task(NamedTuple):
    """A task by the position of its stage and its number in it."""

    stage: int
    number: int


class Readiness:
    """The state of every task of a run.

    Args:
        stages: each after those that it needs.
        done: for each stage by name, which of its tasks are done already.
    """

    def __init__(self, stages: Sequence[Stage], done: Mapping[str, npt.NDArray[np.bool_]]) -> None:
        self._stages = stages
        self._position = {stage.name: i for i, stage in enumerate(stages)}
        self._state = [
            np.where(done[stage.name], np.uint8(DONE), np.uint8(PENDING))
            if stage.name in done
            else np.full(len(stage), PENDING, np.uint8)
            for stage in stages
        ]
        self.left = sum(int(np.count_nonzero(state != DONE)) for state in self._state)  # neither done nor given up
        self._cursor = [0] * len(stages)
        self._waiting = [0] * len(stages)
        self._ready: list[deque[int]] = [deque() for _ in stages]
        self._watchers: dict[Task, list[Task]] = {}

    def take(self, wanted: Callable[[int], bool] = lambda position: True) -> Task | None:
        """A task that can start now, of the last wanted stage that has one; it counts as started from here on."""
        for position in filter(wanted, reversed(range(len(self._stages)))):
            self._look_ahead(position)
            if self._ready[position]:
                return Task(position, self._ready[position].popleft())
        return None

    def finish(self, task: Task) -> None:
        """A task is done: what waits for it may start."""
        self._settle(task, DONE)

    def give_up(self, task: Task) -> None:
        """A task is set aside: what needs it, and what needs that, will not run."""
        self._settle(task, FAILED)

    def count(self, position: int, state: int) -> int:
        """How many tasks of a stage are in a state."""
        return int(np.count_nonzero(self._state[position] == state))

    def _look_ahead(self, position: int) -> None:
        state, ready = self._state[position], self._ready[position]
        while not ready and self._waiting[position] < LOOKAHEAD and self._cursor[position] < len(state):
            number = self._cursor[position]
            if state[number] == PENDING:
                self._examine(Task(position, number))
                self._cursor[position] += 1
            else:
                ahead = np.flatnonzero(state[number : number + _SCAN] == PENDING)
                self._cursor[position] += int(ahead[0]) if len(ahead) else min(_SCAN, len(state) - number)

    def _examine(self, task: Task) -> None:
        """Start, wait for, or give up a task, by what it needs."""
        stage = self._stages[task.stage]
        for name, index in stage.depends(stage.index(task.number)):
            needed = self._position[name]
            number = self._stages[needed].number(index)
            state = self._state[needed][number]
            if state == DONE:
                continue
            if state in (FAILED, BLOCKED):
                self._settle(task, BLOCKED)
                return
            self._state[task.stage][task.number] = WAITING
            self._waiting[task.stage] += 1
            self._watchers.setdefault(Task(needed, number), []).append(task)
            return
        self._state[task.stage][task.number] = STARTED
        self._ready[task.stage].append(task.number)

    def _settle(self, task: Task, state: int) -> None:
        self._state[task.stage][task.number] = state
        self.left -= 1
        for watcher in self._watchers.pop(task, ()):
            self._waiting[watcher.stage] -= 1
            self._examine(watcher)
