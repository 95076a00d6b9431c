"""Decides which tasks can start now: block-level readiness across stages, at two bits a task.

Strategy: a task that cannot start watches one thing that it still needs, and goes on from there when that is settled,
so that each of its needs is looked at once. Of each stage only a bounded number of tasks is looked at in advance, in
order, so memory does not grow with the volume. That cannot lock up: everything that the earliest unfinished stage needs
is settled, so it always has a task that can start. A need for a whole stage is answered from the stage's counters.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ..stages.stage import Stage, Whole
from .bitmap import Bitmap

LOOKAHEAD = 1024


class Task(NamedTuple):
    """Names a task by the position of its stage and its number in it."""

    stage: int
    number: int


class _Waiting(NamedTuple):
    """A task that cannot start yet, and what of its needs has not been looked at: None stands for a whole stage."""

    task: Task
    needs: Iterator[tuple[int, int | None]]


class Readiness:
    """Follows the state of every task of a run.

    Args:
        stages: each after those that it needs.
        done: marks the tasks of a stage that are done already; called for one stage after the other.
    """

    def __init__(self, stages: Sequence[Stage], done: Callable[[Stage], npt.NDArray[np.bool_]]) -> None:
        self._stages = stages
        self._position = {stage.name: i for i, stage in enumerate(stages)}
        self._done = [Bitmap(done(stage)) for stage in stages]
        self._given_up = [Bitmap(np.zeros(len(stage), np.bool_)) for stage in stages]
        self._failed = [0] * len(stages)
        self._cursor = [0] * len(stages)
        self._ready: list[list[int]] = [[] for _ in stages]  # heaps: neighbours are handed out together
        self._waiting = [0] * len(stages)
        self._watchers: list[dict[int | None, list[_Waiting]]] = [{} for _ in stages]

    def ready(self, position: int, most: int) -> int:
        """Counts the tasks of a stage that can start now, up to `most`."""
        ready, done, size = self._ready[position], self._done[position], len(self._stages[position])
        while len(ready) < most and self._waiting[position] < LOOKAHEAD and self._cursor[position] < size:
            number = done.next_clear(self._cursor[position])
            self._cursor[position] = number + 1
            if number < size:
                self._examine(_Waiting(Task(position, number), self._needs(position, number)))
        return min(len(ready), most)

    def take(self, position: int, count: int) -> list[int]:
        """Takes the first tasks of a stage that can start, by number; they count as started from here on."""
        ready = self._ready[position]
        return [heapq.heappop(ready) for _ in range(self.ready(position, count))]

    def put_back(self, position: int, numbers: Iterable[int]) -> None:
        """Puts back tasks that were taken but have not been started after all."""
        for number in numbers:
            heapq.heappush(self._ready[position], number)

    def finish(self, task: Task) -> None:
        """Marks a task as done; the tasks that wait for it may start."""
        self._done[task.stage].set(task.number)
        self._settled(task)

    def give_up(self, task: Task) -> None:
        """Sets a task aside; the tasks that need it, directly or not, will not run."""
        self._failed[task.stage] += 1
        self._given_up[task.stage].set(task.number)
        self._settled(task)

    @property
    def left(self) -> int:
        """Counts the tasks of all stages that are neither done, nor set aside, nor held up by one that is."""
        return sum(self.unsettled(position) for position in range(len(self._stages)))

    def unsettled(self, position: int) -> int:
        """Counts the tasks of one stage that are neither done, nor set aside, nor held up by one that is."""
        return len(self._stages[position]) - self._done[position].count - self._given_up[position].count

    def done(self, position: int) -> int:
        """Counts the tasks of a stage that are done."""
        return self._done[position].count

    def failed(self, position: int) -> int:
        """Counts the tasks of a stage that have been set aside."""
        return self._failed[position]

    def blocked(self, position: int) -> int:
        """Counts the tasks of a stage that are not run because they need one that has been set aside."""
        return self._given_up[position].count - self._failed[position]

    def _needs(self, position: int, number: int) -> Iterator[tuple[int, int | None]]:
        stage = self._stages[position]
        index = stage.index(number)
        for name, indices in stage.needs.items():
            needed = self._position[name]
            if isinstance(indices, Whole):
                yield needed, None
            else:
                place = self._stages[needed].number
                for other in indices(index):
                    yield needed, place(other)

    def _examine(self, waiting: _Waiting) -> None:
        """Go on with what a task needs: start it, let it wait, or give it up."""
        task, needs = waiting
        for needed, number in needs:
            if self._is_given_up(needed, number):
                self._block(task)
                return
            if not self._is_done(needed, number):
                self._waiting[task.stage] += 1
                self._watchers[needed].setdefault(number, []).append(waiting)
                return
        heapq.heappush(self._ready[task.stage], task.number)

    def _block(self, task: Task) -> None:
        self._given_up[task.stage].set(task.number)
        self._settled(task)

    def _settled(self, task: Task) -> None:
        """Wake what watches a task, or its whole stage."""
        watchers, given_up = self._watchers[task.stage], self._given_up[task.stage][task.number]
        woken = watchers.pop(task.number, [])
        if given_up or self._is_done(task.stage, None):
            woken += watchers.pop(None, [])
        for waiting in woken:
            self._waiting[waiting.task.stage] -= 1
            if given_up:
                self._block(waiting.task)
            else:
                self._examine(waiting)

    def _is_done(self, position: int, number: int | None) -> bool:
        done = self._done[position]
        return done.count == done.size if number is None else done[number]

    def _is_given_up(self, position: int, number: int | None) -> bool:
        given_up = self._given_up[position]
        return given_up.count > 0 if number is None else given_up[number]
