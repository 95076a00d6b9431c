"""The run loop: keeps every worker busy, writes down what became of each task, retries, sets aside.

Strategy: as many calls are in flight as the pools of the executor can run now. A call holds one task, or several
short ones of one stage (`batch_size`). Workers get their next call before the driver writes down the last one: what is
ready by then does not depend on it. What follows from an attempt follows after it is in the ledger.

A stage with many blocks begins with a canary: its blocks go one at a time until one of them has succeeded. The others
wait meanwhile, which costs next to nothing: workers go on with earlier stages, and stages of fewer than `CANARY` blocks
a worker, where one block is more than a twentieth of the work, go without.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ...cluster import Completion, Executor, PoolName
from ...pipeline.errors import ClusterError, RequestError, StorageError
from ..progress import Progress
from ..recipes.segmentation_recipe import Limits
from ..run_directory.ledger import Ledger
from ..run_directory.ledger_schema import Row, State
from ..stages.stage import Stage
from ..time_left import Outlook
from .attempt import Attempt, CallReport, Failure, Terms
from .batch_size import CALL_SECONDS, Pace
from .crash_budget import CrashBudget
from .parts import EVERY, Parts
from .ready_tasks import Readiness, Task
from .retries import BACKOFF, Retries
from .time_limit import Hangs

CANARY = 20
_LOOKAHEAD = 1 << 14  # tasks of one stage that are kept ready, whatever the number of workers
_WORTH = 4  # later stages go first, with calls of at least such a part of their full size
_WAIT = 0.5
_TELL = 1.0

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Result:
    """Counts the tasks that were set aside, and those that were not run because they need one of these."""

    failed: int
    blocked: int


@dataclass(frozen=True)
class _Call:
    """Tasks of one stage that go to a worker together."""

    stage: int
    numbers: Sequence[int]


class Loop:
    """Runs stages to their end.

    Args:
        stages: each after those that it needs.
        fingerprints: fingerprints of each stage, by name.
        ledger: has what is done already; every attempt is written there as soon as it ends.
        progress: is told of everything that ends.
        limits: see the recipe.
        backoff: seconds before the first retry of a task; doubled for every further one.
        hangs: a folder for the tracebacks of tasks that hang, and for the shares of tasks under way; without one they
            may take as long as they like.
        seconds: by stage, the seconds that the plan expects of it.
    """

    def __init__(
        self,
        stages: Sequence[Stage],
        fingerprints: Mapping[str, str],
        ledger: Ledger,
        progress: Progress,
        limits: Limits | None = None,
        backoff: float = BACKOFF,
        hangs: Path | None = None,
        seconds: Mapping[str, float] | None = None,
    ) -> None:
        limits = limits or Limits()
        self._stages, self._fingerprints = stages, fingerprints
        self._ledger, self._progress = ledger, progress
        self._budget, self._hangs = CrashBudget(limits.crash_budget), Hangs(hangs, limits.task)
        self._parts = Parts(hangs)
        self._outlook = Outlook(seconds or {}, {stage.name: tuple(stage.needs) for stage in stages})
        self._configs = [stage.config.model_dump_json() for stage in stages]
        self._readiness = Readiness(stages, lambda stage: ledger.done(stage.name, len(stage), fingerprints[stage.name]))
        self._pools: list[PoolName] = ["gpu" if stage.resources.gpu else "cpu" for stage in stages]
        self._paces = [Pace() for _ in stages]
        self._begun = [0] * len(stages)  # tasks in flight, or waiting for a retry
        self._made = 0
        self._next_expected = self._next_parts = 0.0
        self._calls: dict[int, _Call] = {}
        self._in_flight: Counter[PoolName] = Counter()
        self._retries = Retries(self._pools, backoff)

    @property
    def left(self) -> int:
        """Counts the tasks that are still to be done."""
        return self._readiness.left

    def run(self, executor: Executor) -> Result:
        """Run everything that can be run.

        Args:
            executor: runs `attempt.perform`.

        Raises:
            ClusterError: the executor has no pool for some of the stages.
            RequestError: a task found the request to be wrong; other blocks would find the same.
            StorageError: storage refused for good; other blocks would fare no better.
            CrashBudgetError: too many blocks of a stage failed.
        """
        self._executor = executor
        self._check_pools()
        done = self._readiness.done
        self._progress.begin([(stage.name, len(stage), done(i)) for i, stage in enumerate(self._stages)], self._outlook)
        with self._hangs:
            while self.left:
                self._expect()
                self._fill()
                ended = [self._ended(completion) for completion in self._completed()]
                self._fill()
                self._settle(ended)
                self._tell_parts()
        positions = range(len(self._stages))
        return Result(sum(map(self._readiness.failed, positions)), sum(map(self._readiness.blocked, positions)))

    def running(self) -> dict[str, int]:
        """Counts the tasks of each stage that workers have now; may be asked from another thread."""
        counts: dict[str, int] = {}
        for call in list(self._calls.values()):
            name = self._stages[call.stage].name
            counts[name] = counts.get(name, 0) + len(call.numbers)
        return counts

    def _check_pools(self) -> None:
        known = self._executor.capacity()
        for position, pool in enumerate(self._pools):
            if pool not in known and self._readiness.unsettled(position):
                raise ClusterError(f"Stage {self._stages[position].name} needs a {pool} worker; there are none here.")

    # What to do next

    def _fill(self) -> None:
        """Give every worker that is idle something to do."""
        for pool, capacity in self._executor.capacity().items():
            while (room := capacity - self._in_flight[pool]) > 0 and (call := self._next(pool, capacity, room)):
                self._made += 1
                self._calls[self._made] = call
                self._in_flight[pool] += 1
                stage = self._stages[call.stage]
                indices = [stage.index(number) for number in call.numbers]
                terms = Terms(CALL_SECONDS, *self._hangs.watch(self._made), self._parts.path(self._made))
                self._executor.submit(self._made, pool, stage.task, self._configs[call.stage], indices, terms)

    def _expect(self) -> None:
        """Say every so often how many calls there are for each pool, so that it may grow or shrink."""
        if time.monotonic() < self._next_expected:
            return
        self._next_expected = time.monotonic() + _TELL
        wanted = {pool: self._in_flight[pool] + waiting for pool, waiting in self._retries.waiting().items()}
        capacity = self._executor.capacity()
        for position, pool in enumerate(self._pools):
            ready = self._readiness.ready(position, _LOOKAHEAD)
            wanted[pool] += -(-ready // self._size(position, capacity.get(pool, 0)))
        self._executor.expect(wanted)

    def _tell_parts(self) -> None:
        """Say every so often how much of the tasks under way is done."""
        if time.monotonic() >= self._next_parts:
            self._next_parts = time.monotonic() + EVERY
            self._progress.working(
                self._parts.of({key: self._stages[call.stage].name for key, call in self._calls.items()})
            )

    def _next(self, pool: PoolName, capacity: int, room: int) -> _Call | None:
        """The call to make next: a retry that is due, else tasks of the last stage that has enough of them."""
        if (task := self._retries.take(pool)) is not None:
            return _Call(task.stage, [task.number])
        found: tuple[int, int] | None = None
        for position in reversed(range(len(self._stages))):
            if self._pools[position] != pool or self._is_waiting_for_canary(position, capacity):
                continue
            size = self._size(position, capacity)
            ready = self._readiness.ready(position, min(size * room, _LOOKAHEAD))
            share = min(size, -(-ready // room))  # other idle workers get theirs
            if ready * _WORTH >= size:
                found = position, share
                break
            if ready and found is None:
                found = position, share
        if found is None:
            return None
        position, count = found
        self._begun[position] += count
        return _Call(position, self._readiness.take(position, count))

    def _size(self, position: int, capacity: int) -> int:
        if self._is_unproven(position, capacity):
            return 1
        return self._paces[position].size(self._readiness.unsettled(position) - self._begun[position], capacity)

    def _is_waiting_for_canary(self, position: int, capacity: int) -> bool:
        return self._begun[position] > 0 and self._is_unproven(position, capacity)

    def _is_unproven(self, position: int, capacity: int) -> bool:
        return not self._readiness.done(position) and len(self._stages[position]) >= CANARY * max(1, capacity)

    def _completed(self) -> list[Completion]:
        """Waits for calls to end or for the next retry to be due, but never long, so as to hear a signal."""
        started = time.monotonic()
        patience = min(_WAIT, max(0.0, self._retries.next_due() - started))
        completions = self._executor.completed(patience)
        if not completions and not self._calls:  # an executor without anything to wait for may return at once
            time.sleep(max(0.0, started + patience - time.monotonic()))
        return completions

    # What has happened

    def _ended(self, completion: Completion) -> tuple[_Call, CallReport]:
        """Returns the worker's report, or, where it could send none, what the executor knows."""
        call = self._calls.pop(completion.key)
        self._in_flight[self._pools[call.stage]] -= 1
        if not completion.lost and completion.error is None:
            report: CallReport = completion.value
            return call, report
        shared = len(call.numbers) > 1
        if completion.error is not None:
            failure = Failure(completion.error.strip().splitlines()[-1], completion.error, shared=shared)
        elif trace := self._hangs.trace(completion.key):
            failure = Failure(self._hangs.reason, trace, shared=shared)
        else:
            why = completion.reason or "killed from outside, crashed, or above its memory limit"
            failure = Failure(f"its worker died: {why}", lost=True, shared=shared)
        return call, CallReport(tuple(Attempt(None, 0.0, failure) for _ in call.numbers))

    def _settle(self, ended: Sequence[tuple[_Call, CallReport]]) -> None:
        """Write attempts down first; only then does anything follow from them."""
        rows = [
            self._row(Task(call.stage, number), attempt, report)
            for call, report in ended
            for number, attempt in zip(call.numbers, report.attempts, strict=False)
        ]
        if rows:
            self._ledger.record(rows)
        for call, report in ended:
            self._follow(call, report)

    def _follow(self, call: _Call, report: CallReport) -> None:
        """Draws the consequences of a call: for its tasks, for those that wait for them, and for later calls."""
        tried = len(report.attempts)
        self._readiness.put_back(call.stage, call.numbers[tried:])
        self._begun[call.stage] -= len(call.numbers) - tried
        failures = []
        for number, attempt in zip(call.numbers, report.attempts, strict=False):
            task = Task(call.stage, number)
            if attempt.failure is None:
                self._begun[call.stage] -= 1
                self._readiness.finish(task)
            else:
                failures.append((task, attempt.failure))
        if tried > len(failures):
            self._paces[call.stage].measured(tried, report.seconds)
            self._progress.advance(self._stages[call.stage].name, tried - len(failures))
        for task, failure in failures:
            if not failure.shared or task.number == call.numbers[0]:
                log.warning("%s failed: %s\n%s", self._name(task), failure.reason, failure.trace)
            self._retry_or_give_up(task, failure)

    def _retry_or_give_up(self, task: Task, failure: Failure) -> None:
        if failure.request:
            raise RequestError(f"{self._name(task)}: {failure.reason}")
        last = self._retries.is_last(task, failure)
        self._retries.count(task, failure)
        if not last:
            self._retries.add(self._pools[task.stage], task, failure)
        elif failure.storage:
            raise StorageError(f"{self._name(task)}: {failure.reason}")
        else:
            self._give_up(task, failure)

    def _give_up(self, task: Task, failure: Failure) -> None:
        self._begun[task.stage] -= 1
        self._readiness.give_up(task)
        stage, failed = self._stages[task.stage].name, self._readiness.failed(task.stage)
        self._progress.advance(stage, failed=True)
        self._budget.spend(stage, failure.reason, set_aside=failed, done=self._readiness.done(task.stage))

    def _name(self, task: Task) -> str:
        stage = self._stages[task.stage]
        return f"{stage.name} {stage.index(task.number)}"

    def _state(self, task: Task, attempt: Attempt) -> State:
        if attempt.outcome is not None:
            return attempt.outcome.state
        return "aside" if attempt.failure is not None and self._retries.is_last(task, attempt.failure) else "failed"

    def _row(self, task: Task, attempt: Attempt, report: CallReport) -> Row:
        name = self._stages[task.stage].name
        outcome, failure = attempt.outcome, attempt.failure
        return Row(
            stage=name,
            number=task.number,
            state=self._state(task, attempt),
            fingerprint=self._fingerprints[name],
            seconds=attempt.seconds,
            worker=report.worker,
            peak_memory=report.peak_memory,
            voxels=outcome.voxels if outcome else 0,
            counts=outcome.counts if outcome else None,
            checksum=outcome.checksum if outcome else None,
            error=f"{failure.reason}\n{failure.trace}" if failure else None,
        )
