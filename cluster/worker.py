"""Prepares a worker process, and runs every call that it gets."""

from __future__ import annotations

import asyncio
import signal
from typing import TYPE_CHECKING

from .packing import run_packed

if TYPE_CHECKING:
    from distributed import Worker

# One core a worker; libraries that bring threads of their own are told so before they load.
ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "NUMBA_NUM_THREADS": "1",
    "PYTHONSAFEPATH": "1",  # a file in the current folder must not shadow a module
    # Arrays up to 32 MiB come from memory that the process keeps. Fresh pages for each cost a network half its time.
    "MALLOC_MMAP_THRESHOLD_": str(32 << 20),
    "MALLOC_TRIM_THRESHOLD_": str(128 << 20),
    # In one heap, where what is free lies together: a thread's own heap comes in pieces of 64 MiB, each half empty.
    "MALLOC_ARENA_MAX": "1",
}

_tasks: set[asyncio.Task[None]] = set()  # a loop alone would not keep them


async def dask_setup(worker: Worker) -> None:
    """Dask calls this in a new worker. Ctrl-C is left to the driver: a terminal sends it to all processes."""
    from .clock import outlive_settings_of_the_clock

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _tasks.add(asyncio.create_task(outlive_settings_of_the_clock()))


def answer(call: str, packed: bytes) -> None:
    """Run a packed call, and send its result along with what the worker tells the scheduler anyway."""
    from distributed import get_worker

    from .roster import RESULTS

    get_worker().log_event(RESULTS, (call, run_packed(packed)))
