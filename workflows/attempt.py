"""What a worker does with one task: run it, measure it, and put whatever happened into a small record."""

from __future__ import annotations

import errno
import functools
import os
import platform
import resource
import time
import traceback
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from .. import tasks
from ..pipeline.errors import PetavoxError, RequestError, StorageError
from ..pipeline.geometry import Triple
from ..tasks.contract import Outcome, TaskConfig

_DISK = {errno.ENOSPC, errno.EDQUOT, errno.EROFS}


@dataclass(frozen=True)
class Failure:
    """Why an attempt failed, as text, so that it survives any process boundary.

    Args:
        reason: the exception in one line.
        trace: its traceback.
        request: the request was wrong, so no retry helps.
        storage: the storage refused, so other blocks will fare no better.
        lost: the worker died meanwhile.
    """

    reason: str
    trace: str = ""
    request: bool = False
    storage: bool = False
    lost: bool = False

    @classmethod
    def of(cls, error: Exception) -> Failure:
        """From an exception that is being handled."""
        return cls(
            reason=str(error) if isinstance(error, PetavoxError) else f"{type(error).__name__}: {error}",
            trace=traceback.format_exc(),
            request=isinstance(error, RequestError),
            storage=isinstance(error, StorageError) or (isinstance(error, OSError) and error.errno in _DISK),
        )


@dataclass(frozen=True)
class Attempt:
    """One try at one task.

    Args:
        outcome: what the task returned, unless it failed.
        seconds: from start to end.
        peak_memory: bytes that the worker's process held at most meanwhile.
        worker: host and process.
        failure: why it failed, if it did.
    """

    outcome: Outcome | None
    seconds: float
    peak_memory: int
    worker: str
    failure: Failure | None = None


def perform(task: str, config: str, index: Triple) -> Attempt:
    """Run a task by its name, its config as JSON, and its index."""
    return measure(tasks.load(task), config, index)


def measure(module: ModuleType, config: str, index: Triple) -> Attempt:
    """Run the task in a module."""
    outcome, failure = None, None
    _reset_peak_memory()
    started = time.perf_counter()
    try:
        outcome = module.run(_parsed(module, config), index)
    except Exception as error:
        failure = Failure.of(error)
    seconds = time.perf_counter() - started
    return Attempt(outcome, seconds, _peak_memory(), f"{platform.node()}:{os.getpid()}", failure)


@functools.lru_cache(maxsize=64)
def _parsed(module: ModuleType, config: str) -> TaskConfig:
    parsed: TaskConfig = module.Config.model_validate_json(config)
    return parsed


def _reset_peak_memory() -> None:
    """Forget the process's peak where the kernel lets us (Linux); elsewhere the peak is that of the process's life."""
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    except OSError:
        return


def _peak_memory() -> int:
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii")
        return int(status.split("VmHWM:")[1].split()[0]) * 1024
    except (OSError, IndexError):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if platform.system() == "Darwin" else 1024)
