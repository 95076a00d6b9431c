"""Estimates how long a run still takes: by what its stages have done so far, and before that by the plan."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

Stages = Sequence[tuple[str, int, int]]  # name, tasks, of which done


@dataclass(frozen=True)
class Outlook:
    """States what is known of the stages of a run before it begins.

    Args:
        seconds: by stage, the seconds that all of its tasks take with all workers at work, as the plan says.
        needs: by stage, the names of the stages that it needs.
    """

    seconds: Mapping[str, float] = field(default_factory=dict)
    needs: Mapping[str, Sequence[str]] = field(default_factory=dict)


UNKNOWN = Outlook()


@dataclass
class _Stage:
    """Follows one stage: tasks that were done before, tasks that ended since, and the share of those under way."""

    tasks: int
    before: int
    ended: int = 0
    part: float = 0.0
    began: float | None = None

    @property
    def made(self) -> float:
        return self.ended + self.part

    @property
    def left(self) -> float:
        return max(0.0, self.tasks - self.before - self.made)


class TimeLeft:
    """Follows the stages of a run, and estimates the seconds that are left.

    Args:
        stages: as progress is told of them.
        outlook: what the plan says of them.
    """

    def __init__(self, stages: Stages, outlook: Outlook) -> None:
        self._stages = {name: _Stage(tasks, done) for name, tasks, done in stages}
        self._outlook = outlook
        self._began = self._moved = time.monotonic()

    def advance(self, stage: str, count: int) -> None:
        """Counts tasks that have ended, well or not."""
        self._touch(stage).ended += count

    def working(self, parts: Mapping[str, float]) -> None:
        """Notes how much of the tasks under way is done: by stage, the sum of their shares."""
        for name, stage in self._stages.items():
            stage.part = 0.0
            if parts.get(name):
                self._touch(name).part = parts[name]

    def done(self, stage: str) -> float:
        """Counts the tasks of a stage that are done, shares of those under way included."""
        found = self._stages[stage]
        return found.before + found.made

    def waits_for(self, stage: str) -> str | None:
        """Names the first stage that a stage waits for; None where it has begun, or could."""
        found = self._stages[stage]
        if found.began is not None or not found.left:
            return None
        waiting = (need for need in self._outlook.needs.get(stage, ()) if need in self._stages)
        return next((need for need in waiting if self._stages[need].left), None)

    @property
    def elapsed(self) -> float:
        """Counts the seconds since the run began, this time."""
        return time.monotonic() - self._began

    def seconds(self) -> float | None:
        """Estimates the seconds that are left; None where a stage has neither begun nor a place in the plan."""
        total = 0.0
        for name, stage in self._stages.items():
            left = self._left(name, stage)
            if left is None:
                return None
            total += left
        return total

    def _left(self, name: str, stage: _Stage) -> float | None:
        if not stage.left:
            return 0.0
        if stage.began is not None and stage.made:
            return stage.left * (time.monotonic() - stage.began) / stage.made
        planned = self._outlook.seconds.get(name)
        return None if planned is None else planned * stage.left / stage.tasks

    def _touch(self, name: str) -> _Stage:
        stage = self._stages[name]
        if stage.began is None:
            stage.began = self._moved  # when anything moved last: a worker had ended something, and took this up
        self._moved = time.monotonic()
        return stage
