"""Runs calls on processes of this machine through Dask: one thread each, restarted when they die."""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
import os
import queue
import stat
import tempfile
import time
from collections.abc import Hashable, Mapping
from concurrent.futures import CancelledError
from pathlib import Path
from typing import Any

import dask
from distributed import Client, Future, LocalCluster
from distributed.scheduler import KilledWorker

from ..pipeline.errors import ClusterError, StorageError
from .executor import Completion, Function, PoolName
from .packing import pack, run_packed, unpack
from .place import Place

# One core a worker; libraries that bring threads of their own are told so before they load.
_ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "NUMBA_NUM_THREADS": "1",
    "PYTHONSAFEPATH": "1",  # a file in the current folder must not shadow a module
    # Arrays up to 32 MiB come from memory that the process keeps. Fresh pages for each cost a network half its time.
    "MALLOC_MMAP_THRESHOLD_": str(32 << 20),
    "MALLOC_TRIM_THRESHOLD_": str(128 << 20),
}
_SETTINGS = {
    # A worker's death ends its call at once: the run counts attempts, Dask does not.
    "distributed.scheduler.allowed-failures": 0,
    "distributed.scheduler.work-stealing": False,
    "distributed.nanny.pre-spawn-environ": _ENVIRONMENT,
    # A worker whose restart takes longer is given up: on a busy machine, importing alone can take half a minute.
    "distributed.deploy.lost-worker-timeout": "120s",
    # Values never stay on workers, so there is nothing to spill, and a paused worker would wait for ever.
    "distributed.worker.memory.target": False,
    "distributed.worker.memory.spill": False,
    "distributed.worker.memory.pause": False,
    "distributed.worker.memory.terminate": 0.95,
}

_PATIENCE = 600.0  # seconds without any worker
_CURE = "`petavox doctor` shows what this machine has; --cluster serial does without workers."


class Local:
    """The executor on this machine's cores.

    No more calls than workers are ever given to Dask, so that a worker's death costs the one call that it was running.

    Args:
        place: how many workers, of what size.
        function: importable by the workers.
    """

    def __init__(self, place: Place, function: Function) -> None:
        self._workers = place.pools["cpu"].workers
        self._function = function
        self._calls = 0
        self._last_seen = time.monotonic()
        self._keys: dict[Future, Hashable] = {}
        self._ended: queue.SimpleQueue[Future] = queue.SimpleQueue()
        self._settings = dask.config.set(_SETTINGS)
        self._settings.__enter__()
        try:
            self._cluster = LocalCluster(
                n_workers=self._workers,
                threads_per_worker=1,
                memory_limit=place.pools["cpu"].memory,
                processes=True,
                host="127.0.0.1",
                dashboard_address="127.0.0.1:0",
                worker_dashboard_address="127.0.0.1:0",
                local_directory=str(_private_folder()),
                preload=[f"{__package__}.worker"],
                silence_logs=logging.CRITICAL,
            )
            self._client = Client(self._cluster)
        except (RuntimeError, OSError, TimeoutError) as error:
            raise ClusterError(f"Workers could not be started: {error}. {_CURE}") from error
        self.dashboard: str | None = self._cluster.dashboard_link

    def capacity(self) -> Mapping[PoolName, int]:
        return {"cpu": self._workers}

    def submit(self, key: Hashable, pool: PoolName, *arguments: Any) -> None:
        call = pack(self._function, arguments)
        # Dask sees a new key each time: it would give a repeated one the result that it remembers.
        self._calls += 1
        future = self._client.submit(run_packed, call, key=f"call-{self._calls}", pure=False)
        self._keys[future] = key
        future.add_done_callback(self._ended.put)

    def completed(self, timeout: float) -> list[Completion]:
        ended = self._wait(timeout)
        if not ended:
            self._keep_workers()
        # What was cancelled ends too, and is of no interest.
        return [self._completion(future, self._keys.pop(future)) for future in ended if future in self._keys]

    def _keep_workers(self) -> None:
        """Have workers that Dask gave up replaced; with none for long, there is no use in waiting."""
        self._cluster.scale(self._workers)
        now = time.monotonic()
        if self._cluster.scheduler.workers or not self._keys:
            self._last_seen = now
        elif now - self._last_seen > _PATIENCE:
            raise ClusterError(f"No worker could be started for {_PATIENCE:.0f} s. {_CURE}")

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
        workers = {nanny.pid for nanny in self._cluster.workers.values()}
        # Whatever Dask makes of it, such as a timeout in the middle of a restart: no process stays.
        with contextlib.suppress(Exception):
            self._client.close(timeout=5)
        with contextlib.suppress(Exception):
            self._cluster.close(timeout=20)
        for child in multiprocessing.active_children():
            if child.pid in workers:
                child.kill()
                child.join()
        self._settings.__exit__(None, None, None)


def _private_folder() -> Path:
    """Where Dask keeps its workers' files, and clears up after those that were killed.

    Workers import from there, so nobody else may write into it.
    """
    folder = Path(tempfile.gettempdir()) / f"petavox-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    status = folder.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid() or status.st_mode & 0o022:
        raise StorageError(
            f"Workers keep their files in {folder}, which nobody else may own or write; it is another's, or open to"
            " others. Delete it, or set TMPDIR to another folder."
        )
    return folder
