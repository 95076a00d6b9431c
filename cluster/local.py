"""Brings workers on this machine: a process and a core each, some of them with a GPU; restarted when they die."""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
import time
from collections.abc import Mapping
from typing import Any

import dask
from distributed import Scheduler, SpecCluster

from ..pipeline.errors import ClusterError
from . import credentials
from .dask_executor import SETTINGS, DaskExecutor
from .executor import Function, PoolName, worker_name
from .gpus import visible_gpus
from .nanny import Nanny
from .roster import Roster, Worker
from .scratch import private_folder
from .spec import ClusterSpec, PoolSpec

_HOST = "127.0.0.1"
# A worker whose restart takes longer is given up: on a busy machine, importing alone can take half a minute.
_RESTART = {"distributed.deploy.lost-worker-timeout": "120s"}
_PATIENCE = 600.0  # seconds without any worker
_CURE = "`petavox doctor` shows what this machine has; --cluster serial does without workers."


def start(spec: ClusterSpec, function: Function) -> DaskExecutor:
    """Returns an executor on this machine's cores and GPUs."""
    roster = Roster()
    workforce = LocalWorkers(spec, roster)
    return DaskExecutor(workforce, roster, function)


class LocalWorkers:
    """Keeps workers on this machine; everything listens on loopback, and trusts only what holds its key.

    Args:
        spec: number and size of the workers of each pool.
        roster: hears of them.
    """

    def __init__(self, spec: ClusterSpec, roster: Roster) -> None:
        self._roster = roster
        self._last_seen = self._last_kept = time.monotonic()
        self._settings = contextlib.ExitStack()
        self._settings.enter_context(dask.config.set({**SETTINGS, **_RESTART}))
        security = credentials.security(*credentials.temporary())
        common = {"host": _HOST, "protocol": "tls://", "security": security}
        try:
            self.cluster = SpecCluster(
                scheduler={
                    "cls": Scheduler,
                    "options": {**common, "dashboard_address": f"{_HOST}:0", "plugins": [roster]},
                },
                workers={
                    worker_name(pool, n): _worker(common, pool, size.memory, n // size.per_gpu)
                    for pool, size in spec.pools.items()
                    if isinstance(size, PoolSpec)
                    for n in range(size.workers)
                },
                security=security,
                silence_logs=logging.CRITICAL,
            )
        except (RuntimeError, OSError, TimeoutError) as error:
            raise ClusterError(f"Workers could not be started: {error}. {_CURE}") from error
        self.dashboard: str | None = self.cluster.dashboard_link
        self.grace_seconds = 0.0

    def expect(self, ready: Mapping[PoolName, int]) -> None:
        return  # as many as the cores and GPUs that were asked for, always

    def check(self) -> None:
        """Have workers that Dask gave up replaced; with none for long, there is no use in waiting."""
        now = time.monotonic()
        if now - self._last_kept < 1:
            return
        self._last_kept = now
        self.cluster.scale(len(self.cluster.worker_spec))
        if self._roster.workers():
            self._last_seen = now
        elif now - self._last_seen > _PATIENCE:
            raise ClusterError(f"No worker could be started for {_PATIENCE:.0f} s. {_CURE}")

    def reason_for_loss(self, worker: Worker) -> str:
        return ""

    def close(self) -> None:
        workers = {nanny.pid for nanny in self.cluster.workers.values()}
        # Whatever Dask makes of it, such as a timeout in the middle of a restart: no process stays.
        with contextlib.suppress(Exception):
            self.cluster.close(timeout=20)
        for child in multiprocessing.active_children():
            if child.pid in workers:
                child.kill()
                child.join()
        self._settings.close()


def _worker(common: Mapping[str, Any], pool: PoolName, memory: int, gpu: int) -> dict[str, Any]:
    """Describes a worker to Dask; GPU workers see one GPU each, by its number, CPU workers none."""
    return {
        "cls": Nanny,
        "options": {
            **common,
            "nthreads": 1,
            "memory_limit": memory,
            "dashboard_address": f"{_HOST}:0",
            "local_directory": str(private_folder()),
            "preload": [f"{__package__}.worker"],
            "env": {"CUDA_VISIBLE_DEVICES": _gpu(gpu) if pool == "gpu" else ""},
            "silence_logs": logging.CRITICAL,
        },
    }


def _gpu(number: int) -> str:
    """The name of the GPU for a worker, among those that this process may see."""
    names = visible_gpus()
    return str(number) if names is None else names[number]
