"""Runs calls through Dask on the workers that a workforce brings: each worker has one call at a time, given by us."""

from __future__ import annotations

import asyncio
import contextlib
import queue
import time
from collections import deque
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from distributed import Client, Future, SpecCluster
from distributed.client import ClosedClientError
from distributed.scheduler import KilledWorker

from ..pipeline.errors import ClusterError
from .clock import keep_clocks_monotonic
from .executor import Completion, Function, PoolName
from .packing import pack, unpack
from .roster import Answer, Roster, Worker
from .worker import ENVIRONMENT, answer

SETTINGS = {
    # A worker's death ends its call at once: the run counts attempts, Dask does not.
    "distributed.scheduler.allowed-failures": 0,
    "distributed.scheduler.work-stealing": False,
    "distributed.nanny.pre-spawn-environ": ENVIRONMENT,
    # Nothing stays on workers, so there is nothing to spill, and a paused worker would wait for ever.
    "distributed.worker.memory.target": False,
    "distributed.worker.memory.spill": False,
    "distributed.worker.memory.pause": False,
    "distributed.worker.memory.terminate": 0.95,
    # Results come as events, which Dask would keep.
    "distributed.admin.low-level-log-length": 8,
}


class Workforce(Protocol):
    """Brings workers to a scheduler, and replaces those that are lost."""

    cluster: SpecCluster  # has the scheduler, in this process
    dashboard: str | None  # its page
    grace_seconds: float  # seconds after which `reason_for_loss` knows what became of a worker

    def expect(self, ready: Mapping[PoolName, int]) -> None:
        """Learns how many calls each pool could run now if it were large enough."""

    def check(self) -> None:
        """Raise what keeps workers from coming, once there is no use in waiting any longer."""

    def reason_for_loss(self, worker: Worker) -> str:
        """Says in words why a worker left; "" where nobody knows."""

    def close(self) -> None:
        """Leave no worker behind."""


@dataclass(frozen=True)
class _Call:
    key: Hashable
    worker: str
    future: Future


class DaskExecutor:
    """Runs calls on the workers of any workforce.

    Args:
        workforce: its cluster's scheduler has the roster as a plugin.
        roster: roster of the workers.
        function: importable by the workers.
    """

    def __init__(self, workforce: Workforce, roster: Roster, function: Function) -> None:
        self._workforce, self._roster, self._function = workforce, roster, function
        self._client = Client(workforce.cluster)
        loop = self._client.loop.asyncio_loop
        watch = keep_clocks_monotonic(workforce.cluster.scheduler)
        self._clock = asyncio.run_coroutine_threadsafe(watch, loop)
        self.dashboard = workforce.dashboard
        self._count = 0
        self._calls: dict[str, _Call] = {}
        self._waiting: dict[PoolName, deque[tuple[Hashable, bytes]]] = {"cpu": deque(), "gpu": deque()}
        self._completions: list[Completion] = []
        self._lost: deque[tuple[float, Worker]] = deque()
        self._broken: queue.SimpleQueue[Future] = queue.SimpleQueue()

    def capacity(self) -> Mapping[PoolName, int]:
        return {pool: self._roster.size(pool) for pool in self._waiting}

    def expect(self, ready: Mapping[PoolName, int]) -> None:
        self._workforce.expect(ready)

    def submit(self, key: Hashable, pool: PoolName, *arguments: Any) -> None:
        self._waiting[pool].append((key, pack(self._function, arguments)))
        self._assign(pool)

    def _assign(self, pool: PoolName) -> None:
        """Give waiting calls to idle workers."""
        waiting = self._waiting[pool]
        while waiting:
            # Dask sees a new name each time: it would give a repeated one the result that it remembers.
            name = f"call-{self._count}"
            address = self._roster.assign(name, pool)
            if address is None:
                return
            self._count += 1
            key, packed = waiting.popleft()
            try:
                future = self._client.submit(answer, name, packed, key=name, workers=[address], pure=False)
            except ClosedClientError as error:
                raise ClusterError(
                    "The driver lost the connection to its own scheduler, as a machine that slept for long may have it."
                    " What is done is kept; the same command continues."
                ) from error
            self._calls[name] = _Call(key, address, future)
            future.add_done_callback(self._done)

    def _done(self, future: Future) -> None:
        """Answers come as events; of futures only those matter that brought none."""
        if future.status != "finished":
            self._broken.put(future)
            self._roster.events.put(None)

    def completed(self, timeout: float) -> list[Completion]:
        self._workforce.check()
        with contextlib.suppress(queue.Empty):
            self._take(
                self._roster.events.get(timeout=min(timeout, self._workforce.grace_seconds) if self._lost else timeout)
            )
            while True:
                self._take(self._roster.events.get_nowait())
        with contextlib.suppress(queue.Empty):
            while True:
                self._take_broken(self._broken.get_nowait())
        while self._lost and time.monotonic() >= self._lost[0][0]:
            self._report_lost(self._lost.popleft()[1])
        for pool in self._waiting:
            self._assign(pool)
        completions, self._completions = self._completions, []
        return completions

    def _take(self, event: Answer | Worker | None) -> None:
        match event:
            case Answer(name, result):
                self._end(name, lambda key: Completion(key, *unpack(result)))
            case Worker() as worker if worker.call in self._calls:
                self._lost.append((time.monotonic() + self._workforce.grace_seconds, worker))

    def _report_lost(self, worker: Worker) -> None:
        reason = worker.reason or self._workforce.reason_for_loss(worker)
        self._end(str(worker.call), lambda key: Completion(key, lost=True, reason=reason))

    def _take_broken(self, future: Future) -> None:
        """A call that its worker could not even load; of workers that died, the roster tells."""
        if future.status == "error" and not isinstance(error := future.exception(), KilledWorker):
            self._end(future.key, lambda key: Completion(key, error=repr(error)))

    def _end(self, name: str, completion: Callable[[Hashable], Completion]) -> None:
        call = self._calls.pop(name, None)
        if call is None:
            return  # it was cancelled, or has been reported
        self._roster.free(call.worker, name)
        ended = completion(call.key)
        if ended.lost:
            call.future.cancel()  # or Dask would wait for that worker to come back
        self._completions.append(ended)

    def cancel(self) -> None:
        for waiting in self._waiting.values():
            waiting.clear()
        calls, self._calls = self._calls, {}
        self._completions.clear()
        self._lost.clear()
        if calls:
            self._client.cancel([call.future for call in calls.values()], force=True)
        for name, call in calls.items():
            self._roster.free(call.worker, name)  # a call that has begun runs on; the worker's next one comes after it

    def close(self) -> None:
        self.cancel()
        self._clock.cancel()
        # Whatever Dask makes of it, such as a timeout in the middle of a restart: no process stays.
        with contextlib.suppress(Exception):
            self._client.close(timeout=5)
        self._workforce.close()
