"""Worker processes start without the main module of the driver, so that a script needs no `if __name__ == "__main__":`.

multiprocessing has every new process import the script that was started, to find there the functions that it is to
call. Calls of ours are functions of modules that workers import by name. Without this file, a script that runs a recipe
at its top level would begin its own run again in each worker.
"""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Iterator
from importlib.machinery import ModuleSpec
from types import ModuleType

import distributed
from distributed.core import Status

_NO_MODULE = ModuleSpec("__main__", None)  # multiprocessing imports no module of this name
_lock = threading.Lock()
_hidden: list[tuple[ModuleType, ModuleSpec | None]] = []  # once for each process that is just being started


class Nanny(distributed.Nanny):  # type: ignore[misc]  # Dask has no types
    """Keeps a worker process alive and within its memory; it is Dask's own nanny, with other limits."""

    async def instantiate(self) -> Status:
        """Start the worker process, at first and whenever it has died."""
        with without_main_module():
            return await super().instantiate()


@contextlib.contextmanager
def without_main_module() -> Iterator[None]:
    """Processes that multiprocessing starts meanwhile import nothing of the script that this process runs."""
    main = sys.modules["__main__"]
    with _lock:
        _hidden.append(_hidden[0] if _hidden else (main, main.__spec__))
        main.__spec__ = _NO_MODULE
    try:
        yield
    finally:
        with _lock:
            main, spec = _hidden.pop()
            if not _hidden:
                main.__spec__ = spec
