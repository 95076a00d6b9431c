"""Runs calls on processes of this machine through Dask: one thread each, restarted when they die."""

from __future__ import annotations

import contextlib
import logging
import queue
import tempfile
from collections.abc import Hashable
from concurrent.futures import CancelledError
from typing import Any

import dask
from distributed import Client, Future, LocalCluster
from distributed.scheduler import KilledWorker

from .executor import Completion, Function
from .packing import pack, run_packed, unpack

# One core a worker; libraries that bring threads of their own are told so before they load.
_ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "NUMBA_NUM_THREADS": "1",
    "PYTHONSAFEPATH": "1",  # a file in the current folder must not shadow a module
    "MALLOC_TRIM_THRESHOLD_": "65536",  # freed arrays go back to the system
}
_SETTINGS = {
    # A worker's death ends its call at once: the run counts attempts, Dask does not.
    "distributed.scheduler.allowed-failures": 0,
    "distributed.scheduler.work-stealing": False,
    "distributed.nanny.pre-spawn-environ": _ENVIRONMENT,
    # Values never stay on workers, so there is nothing to spill, and a paused worker would wait for ever.
    "distributed.worker.memory.target": False,
    "distributed.worker.memory.spill": False,
    "distributed.worker.memory.pause": False,
    "distributed.worker.memory.terminate": 0.95,
}


class Local:
    """The executor on this machine's cores.

    No more calls than workers are ever given to Dask, so that a worker's death costs the one call that it was running.

    Args:
        function: importable by the workers.
        workers: processes.
        memory: bytes that each may use before it is killed and replaced.
    """

    def __init__(self, function: Function, *, workers: int, memory: int) -> None:
        self.window = workers
        self._function = function
        self._calls = 0
        self._keys: dict[Future, Hashable] = {}
        self._ended: queue.SimpleQueue[Future] = queue.SimpleQueue()
        self._settings = dask.config.set(_SETTINGS)
        self._settings.__enter__()
        self._scratch = tempfile.TemporaryDirectory(prefix="petavox-", ignore_cleanup_errors=True)
        self._cluster = LocalCluster(
            n_workers=workers,
            threads_per_worker=1,
            memory_limit=memory,
            processes=True,
            host="127.0.0.1",
            dashboard_address="127.0.0.1:0",
            worker_dashboard_address="127.0.0.1:0",
            local_directory=self._scratch.name,  # workers import from it: nobody else may write there
            silence_logs=logging.CRITICAL,
        )
        self._client = Client(self._cluster)
        self.dashboard: str | None = self._cluster.dashboard_link

    def submit(self, key: Hashable, *arguments: Any) -> None:
        call = pack(self._function, arguments)
        # Dask sees a new key each time: it would give a repeated one the result that it remembers.
        self._calls += 1
        future = self._client.submit(run_packed, call, key=f"call-{self._calls}", pure=False)
        self._keys[future] = key
        future.add_done_callback(self._ended.put)

    def completed(self, timeout: float) -> list[Completion]:
        # What was cancelled ends too, and is of no interest.
        return [
            self._completion(future, self._keys.pop(future)) for future in self._wait(timeout) if future in self._keys
        ]

    def _wait(self, timeout: float) -> list[Future]:
        ended: list[Future] = []
        with contextlib.suppress(queue.Empty):
            ended.append(self._ended.get(timeout=timeout))
            while True:
                ended.append(self._ended.get_nowait())
        return ended

    def _completion(self, future: Future, key: Hashable) -> Completion:
        try:
            return Completion(key, *unpack(future.result()))
        except (KilledWorker, CancelledError):
            return Completion(key, lost=True)

    def cancel(self) -> None:
        if self._keys:
            self._client.cancel(list(self._keys), force=True)
        self._keys.clear()

    def close(self) -> None:
        self.cancel()
        self._client.close(timeout=5)
        self._cluster.close(timeout=5)
        self._scratch.cleanup()
        self._settings.__exit__(None, None, None)
