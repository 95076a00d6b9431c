"""The status file of a run: what its driver tells everybody who sees the directory, every few seconds.

The ledger cannot be looked into from other machines; this file can. It is written whole or not at all, by the driver
alone, from the thread that beats for the lock, and it stays when the driver is gone.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ...pipeline.errors import StorageError
from ...pipeline.files import write_text
from ..stages.stage import Stage
from .layout import STATUS
from .ledger import Ledger
from .ledger_schema import SETTLED, STATES, Row
from .lock import Holder

_MINUTES = 10.0
_DONE = STATES[:SETTLED]


@dataclass
class StageStatus:
    """Says how far a stage is.

    Args:
        name: name of the stage.
        tasks: number of tasks.
        done: with nothing left to do: done, empty or masked.
        running: with workers now.
        failed: waiting for another try.
        aside: set aside.
        attempts: at all of them.
        seconds: seconds of all tasks that are done, together.
        peak_memory: bytes that a worker's process held at most.
        rate: tasks a second of late; None where nothing has moved.
        gpu: whether its tasks run on GPU workers.
        planned: seconds of all its tasks with all workers, as the plan has it.
        needs: names of the stages that it needs.
    """

    name: str
    tasks: int
    done: int
    running: int = 0
    failed: int = 0
    aside: int = 0
    attempts: int = 0
    seconds: float = 0.0
    peak_memory: int = 0
    rate: float | None = None
    gpu: bool = False
    planned: float | None = None
    needs: list[str] = field(default_factory=list)

    @property
    def left(self) -> int:
        """Counts the tasks that are to be done, running ones included."""
        return self.tasks - self.done - self.aside

    def time_left(self, workers: int) -> float | None:
        """Estimates the seconds left by its tasks so far, on so many workers; None where that is not known."""
        if not self.left:
            return 0.0
        if self.done and workers:
            return self.left * self.seconds / self.done / workers
        return None if self.planned is None else self.planned * self.left / self.tasks


@dataclass
class Status:
    """Says how far a run is, and who works on it.

    Args:
        stages: stages in order.
        failures: first tasks that were set aside: stage, number, attempts, reason.
        driver: driver that wrote this; None where it was read from the ledger.
        seconds: time that the driver has been at work.
        workers: number of calls that each pool could run at the same time.
        gpu_share: share of the time of GPU workers that was spent on tasks; None where there are no such workers.
        exit_status: exit status of the driver, if it has ended.
        recipe: digest of the recipe as the driver wrote it.
        ingredients: what the fingerprint of each stage was made from.
        foundation: settings that the run was begun with.
    """

    stages: list[StageStatus]
    failures: list[tuple[str, int, int, str]] = field(default_factory=list)
    driver: Holder | None = None
    seconds: float = 0.0
    workers: dict[str, int] = field(default_factory=dict)
    gpu_share: float | None = None
    exit_status: int | None = None
    recipe: str = ""
    ingredients: dict[str, Any] = field(default_factory=dict)
    foundation: dict[str, Any] = field(default_factory=dict)

    def waits_for(self, stage: StageStatus) -> str | None:
        """Names the first stage that a stage waits for; None where it has begun, or could."""
        left = {other.name for other in self.stages if other.left}
        if stage.done or stage.running or not stage.left:
            return None
        return next((need for need in stage.needs if need in left), None)

    @property
    def time_left(self) -> float | None:
        """Estimates the seconds left: pools work side by side. None where a stage is not known yet."""
        total = {"cpu": 0.0, "gpu": 0.0}
        for stage in self.stages:
            pool = "gpu" if stage.gpu else "cpu"
            left = stage.time_left(self.workers.get(pool, 0))
            if left is None:
                return None
            total[pool] += left
        return max(total.values())


def read_bulletin(directory: Path) -> Status | None:
    """Reads the status that the last driver has told; None without one, or in words of another version."""
    try:
        told = json.loads((directory / STATUS).read_text(encoding="utf-8"))
        stages = [StageStatus(**stage) for stage in told.pop("stages")]
        driver = Holder(**told.pop("driver"))
        failures = [(stage, number, tries, why) for stage, number, tries, why in told.pop("failures")]
        return Status(stages=stages, driver=driver, failures=failures, **told)
    except (OSError, ValueError, TypeError, KeyError):
        return None


def from_ledger(ledger: Ledger, limit: int = 10) -> Status:
    """Reads the status from the ledger, when nobody is at work."""
    stages = [
        StageStatus(s.name, s.tasks, s.settled, 0, s.failed, s.aside, s.attempts, s.seconds, s.peak_memory)
        for s in ledger.summaries()
    ]
    return Status(
        stages,
        ledger.failures(limit),
        seconds=ledger.seconds(),
        ingredients=ledger.ingredients(),
        foundation=ledger.foundation(),
    )


def recipe_digest(directory: Path, name: str) -> str:
    """Hashes a recipe as it lies in a run directory."""
    with contextlib.suppress(OSError):
        return hashlib.blake2b((directory / name).read_bytes(), digest_size=8).hexdigest()
    return ""


class Bulletin:
    """Keeps the status file of a run.

    Args:
        directory: directory of the run.
        driver: this process.
        ledger: whose stages are current; it tells what is recorded from now on.
        stages: stages of the run.
        recipe: digest of the recipe.
        planned: by stage, the seconds that the plan expects of it.
    """

    def __init__(
        self,
        directory: Path,
        driver: Holder,
        ledger: Ledger,
        stages: Sequence[Stage],
        recipe: str,
        planned: Mapping[str, float] | None = None,
    ) -> None:
        self._path, self._ledger = directory / STATUS, ledger
        self.planned = planned or {}
        self._status = from_ledger(ledger)
        self._status.driver, self._status.recipe, self._status.seconds = driver, recipe, 0.0
        self._status.failures = []  # what was set aside before is tried again
        self._by_name = {stage.name: stage for stage in self._status.stages}
        for stage in stages:
            known = self._by_name[stage.name]
            known.gpu, known.aside, known.failed = stage.resources.gpu, 0, 0
            known.planned, known.needs = self.planned.get(stage.name), list(stage.needs)
        self._running: Callable[[], Mapping[str, int]] = dict
        self._capacity: Callable[[], Mapping[Any, int]] = dict
        self._failing: set[tuple[str, int]] = set()
        self._began = self._last = time.monotonic()
        self._moved: dict[str, float] = {}
        self._past: deque[tuple[float, dict[str, int]]] = deque()
        self._gpu_seconds = self._gpu_worker_seconds = 0.0
        self._writing = threading.Lock()
        ledger.notify(self.recorded)

    def recount(self) -> None:
        """Begin anew from what the ledger has, after something that was done has been undone."""
        for summary in self._ledger.summaries():
            stage = self._by_name[summary.name]
            stage.done, stage.seconds, stage.aside = summary.settled, summary.seconds, 0
        self._past.clear()

    def watch(self, running: Callable[[], Mapping[str, int]], capacity: Callable[[], Mapping[Any, int]]) -> None:
        """Ask these for the tasks of each stage that workers have, and for what the pools can run."""
        self._running, self._capacity = running, capacity

    def recorded(self, rows: Sequence[Row]) -> None:
        """Count what has been written into the ledger."""
        now = time.monotonic()
        for row in rows:
            stage = self._by_name[row.stage]
            stage.attempts += row.attempts
            stage.peak_memory = max(stage.peak_memory, row.peak_memory)
            if stage.gpu:
                self._gpu_seconds += row.seconds
            self._moved.setdefault(row.stage, now - row.seconds)
            self._settle(stage, row)

    def _settle(self, stage: StageStatus, row: Row) -> None:
        task = row.stage, row.number
        if row.state == "failed":
            self._failing.add(task)
        else:
            self._failing.discard(task)
        if row.state in _DONE:
            stage.done += 1
            stage.seconds += row.seconds
        elif row.state == "aside":
            stage.aside += 1
            failures = self._status.failures
            if len(failures) < 10:
                failures.append((row.stage, row.number, row.attempts, row.error or ""))

    def publish(self) -> None:
        """Writes the file.

        Raises:
            StorageError: it cannot be written.
        """
        with self._writing:
            self._measure(time.monotonic())
            write_text(self._path, json.dumps(asdict(self._status), indent=1))

    @property
    def verdict(self) -> int:
        """Returns the exit status of a driver that comes to its end."""
        return 1 if any(stage.aside for stage in self._status.stages) else 0

    def end(self, exit_status: int) -> None:
        """Say how the driver ends."""
        self._running = dict
        self._status.exit_status = exit_status
        with contextlib.suppress(StorageError):  # the ledger has it, too
            self.publish()

    def _measure(self, now: float) -> None:
        status, running, capacity = self._status, self._running(), self._capacity()
        status.workers = {str(pool): count for pool, count in capacity.items()} or status.workers
        status.seconds = now - self._began
        self._gpu_worker_seconds += (now - self._last) * capacity.get("gpu", 0)
        self._last = now
        if self._gpu_worker_seconds:
            status.gpu_share = min(1.0, self._gpu_seconds / self._gpu_worker_seconds)
        self._past.append((now, {stage.name: stage.done for stage in status.stages}))
        while now - self._past[0][0] > 60 * _MINUTES:
            self._past.popleft()
        since, then = self._past[0]
        failing = [name for name, _ in list(self._failing)]
        for stage in status.stages:
            stage.running, stage.failed = running.get(stage.name, 0), failing.count(stage.name)
            span = now - max(since, self._moved.get(stage.name, now))
            made = stage.done - then[stage.name]
            stage.rate = made / span if made and span > 0 else None
