"""Runs a call on its worker: its tasks are run and measured, and whatever happened goes into a small record."""

from __future__ import annotations

import contextlib
import errno
import faulthandler
import functools
import multiprocessing
import os
import platform
import resource
import sys
import time
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from ... import tasks
from ...pipeline.errors import PetavoxError, RequestError, StorageError
from ...pipeline.geometry import Triple
from ...tasks import fraction
from ...tasks.contract import Outcome, TaskConfig
from .parts import Part

THIS_FILE = Path(__file__).name
"""Names, in a traceback of all threads, the one that ran the task."""

_BROKEN = 70
"""Exit status of a worker whose GPU is broken; its tasks are tried again in another process."""
_DISK = {errno.ENOSPC, errno.EDQUOT, errno.EROFS}


@dataclass(frozen=True)
class Failure:
    """Holds the reason why an attempt failed, as text, so that it survives any process boundary.

    Args:
        reason: the exception in one line.
        trace: its traceback.
        request: the request was wrong, so no retry helps.
        storage: the storage refused, so other blocks will fare no better.
        lost: the worker died meanwhile.
        shared: it ended a call of several tasks, and none of them is known to be the cause.
    """

    reason: str
    trace: str = ""
    request: bool = False
    storage: bool = False
    lost: bool = False
    shared: bool = False

    @classmethod
    def of(cls, error: Exception) -> Failure:
        """Describes an exception that is being handled."""
        return cls(
            reason=str(error) if isinstance(error, PetavoxError) else f"{type(error).__name__}: {error}",
            trace=traceback.format_exc(),
            request=isinstance(error, RequestError),
            storage=isinstance(error, StorageError) or (isinstance(error, OSError) and error.errno in _DISK),
        )


@dataclass(frozen=True)
class Terms:
    """Limits how long a call may go on.

    Args:
        seconds: after so many, no further task of the call is begun.
        limit: seconds after which one task is taken to hang, and its process is ended; None: however long it takes.
        trace: the file that then holds the tracebacks of all threads of the process.
        part: the file that says how much of the call is done; empty: nobody wants to know.
    """

    seconds: float
    limit: float | None = None
    trace: str = ""
    part: str = ""


@dataclass(frozen=True)
class Attempt:
    """Describes one try at one task.

    Args:
        outcome: outcome that the task returned, unless it failed.
        seconds: from start to end.
        failure: why it failed, if it did.
    """

    outcome: Outcome | None
    seconds: float
    failure: Failure | None = None


@dataclass(frozen=True)
class CallReport:
    """Reports a call to the driver: its attempts, and the memory that they took.

    Args:
        attempts: at its first tasks, in order; the others have not been begun.
        seconds: from start to end.
        peak_memory: bytes that the worker's process held at most meanwhile.
        worker: host and process.
    """

    attempts: tuple[Attempt, ...]
    seconds: float = 0.0
    peak_memory: int = 0
    worker: str = ""


def perform(task: str, config: str, indices: Sequence[Triple], terms: Terms) -> CallReport:
    """Run a task by its name, its config as JSON, and the indices of its blocks: the first one, and more in time."""
    return measure(tasks.load(task), config, indices, terms)


def measure(module: ModuleType, config: str, indices: Sequence[Triple], terms: Terms) -> CallReport:
    """Run the task in a module."""
    _reset_peak_memory()
    started = time.perf_counter()
    attempts: list[Attempt] = []
    part = Part(terms.part)
    with _limited(terms), fraction.told_to(lambda share: part.tell(len(attempts) + share)):
        while len(attempts) < len(indices) and (not attempts or time.perf_counter() - started < terms.seconds):
            attempts.append(_attempt(module, config, indices[len(attempts)]))
    part.close()
    seconds = time.perf_counter() - started
    return CallReport(tuple(attempts), seconds, _peak_memory(), f"{platform.node()}:{os.getpid()}")


def _attempt(module: ModuleType, config: str, index: Triple) -> Attempt:
    outcome, failure = None, None
    started = time.perf_counter()
    try:
        outcome = module.run(_parsed(module, config), index)
    except Exception as error:
        if multiprocessing.parent_process() is not None and _has_broken_gpu(error):
            traceback.print_exc()
            os._exit(_BROKEN)
        failure = Failure.of(error)
    return Attempt(outcome, time.perf_counter() - started, failure)


def _has_broken_gpu(error: Exception) -> bool:
    """Tells whether the GPU of this process answers no more: after some errors, every later call to it fails."""
    torch = sys.modules.get("torch")
    if torch is None or not isinstance(error, RuntimeError) or not torch.cuda.is_initialized():
        return False
    try:
        torch.cuda.synchronize()
    except RuntimeError:
        return True
    return False


@contextlib.contextmanager
def _limited(terms: Terms) -> Iterator[None]:
    """End this process when a task hangs: from a thread that needs no interpreter, so that hanging kernels end too.

    The call's own time comes on top of the limit, so that it need not be set for each of many short tasks.
    """
    if terms.limit is None:
        yield
        return
    with Path(terms.trace).open("w", encoding="utf-8") as trace:
        faulthandler.dump_traceback_later(terms.seconds + terms.limit, exit=True, file=trace)
        try:
            yield
        finally:
            faulthandler.cancel_dump_traceback_later()
    Path(terms.trace).unlink(missing_ok=True)


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
