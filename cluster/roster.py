"""Knows which workers there are now, and which call each of them has; Dask's scheduler keeps it up to date."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from distributed import Scheduler
from distributed.diagnostics.plugin import SchedulerPlugin

from .executor import PoolName, pool_and_number

RESULTS = "petavox"  # the topic under which workers send what their calls returned
_MEMORY = "worker-restart-memory"  # under which Dask tells of a worker that it kills for its memory


@dataclass
class Worker:
    """Describes one worker process; it is named "cpu-…" or "gpu-…" after its pool.

    Args:
        name: the same again after its process died and was replaced.
        address: another one then.
        call: call that the worker was given last and has not answered.
        since: when it became idle, or busy (monotonic seconds).
        retiring: it gets no further call.
        reason: known reason why the worker will go.
    """

    name: str
    address: str
    call: str | None = None
    since: float = field(default_factory=time.monotonic)
    retiring: bool = False
    reason: str = ""

    @property
    def pool(self) -> PoolName:
        return pool_and_number(self.name)[0]


@dataclass(frozen=True)
class Answer:
    """Carries a worker's answer to a call: the packed result."""

    call: str
    result: bytes


class Roster(SchedulerPlugin):  # type: ignore[misc]  # Dask has no types
    """Knows the workers of one scheduler; it is safe to use from several threads.

    What happens is put on `events` in order: an Answer, a Worker that left, or None for one that joined.
    """

    name = "petavox-roster"

    def __init__(self) -> None:
        self.events: queue.SimpleQueue[Answer | Worker | None] = queue.SimpleQueue()
        self.seen: set[str] = set()  # names of all that ever joined
        self._lock = threading.Lock()
        self._workers: dict[str, Worker] = {}
        self._longest: dict[PoolName, float] = {}

    def add_worker(self, scheduler: Scheduler, worker: str) -> None:
        joined = Worker(str(scheduler.workers[worker].name), worker)
        with self._lock:
            self._workers[worker] = joined
            self.seen.add(joined.name)
        self.events.put(None)

    def remove_worker(self, scheduler: Scheduler, worker: str, **_: Any) -> None:
        with self._lock:
            left = self._workers.pop(worker, None)
        if left:
            self.events.put(left)

    def log_event(self, topic: str, msg: Any) -> None:
        if topic == RESULTS:
            self.events.put(Answer(*msg))
        elif topic == _MEMORY:
            with self._lock:
                if worker := self._workers.get(msg["worker"]):
                    worker.reason = f"killed for memory: it held {msg['rss'] / 1e9:.2f} GB, which is above its limit"

    def size(self, pool: PoolName) -> int:
        """Counts the workers of a pool that can be given calls."""
        with self._lock:
            return sum(worker.pool == pool and not worker.retiring for worker in self._workers.values())

    def assign(self, call: str, pool: PoolName) -> str | None:
        """Gives a call to an idle worker of a pool; returns its address, or None where all are busy."""
        with self._lock:
            for worker in self._workers.values():
                if worker.pool == pool and worker.call is None and not worker.retiring:
                    worker.call, worker.since = call, time.monotonic()
                    return worker.address
        return None

    def free(self, address: str, call: str) -> None:
        """Notes that a worker's call has ended, or is of no interest any more."""
        with self._lock:
            worker = self._workers.get(address)
            if worker and worker.call == call:
                now = time.monotonic()
                self._longest[worker.pool] = max(self.longest(worker.pool), now - worker.since)
                worker.call, worker.since = None, now

    def longest(self, pool: PoolName) -> float:
        """Returns the seconds of the longest call of a pool so far."""
        return self._longest.get(pool, 0.0)

    def retire(self, names: Iterable[str]) -> None:
        """Give no further call to these; whatever they are at, they may end."""
        wanted = set(names)
        with self._lock:
            for worker in self._workers.values():
                worker.retiring |= worker.name in wanted

    def workers(self) -> list[Worker]:
        """Returns all workers that there are now; the records live on."""
        with self._lock:
            return list(self._workers.values())
