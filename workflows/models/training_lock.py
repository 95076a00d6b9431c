"""Keeps a second training out of a training's directory."""

from __future__ import annotations

import contextlib
import fcntl
import os
import platform
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from ...pipeline.errors import RequestError, StorageError
from ...pipeline.file_lock import try_lock

LOCK = "lock"


@contextlib.contextmanager
def training_lock(directory: Path, tell: Callable[[str], None] = lambda remark: None) -> Iterator[None]:
    """Holds the lock of a directory, which is made unless it is there; the lock ends with the process.

    Args:
        directory: directory of the training.
        tell: is told where the file system has no locks.

    Raises:
        RequestError: another training is at work there.
        StorageError: the lock cannot be written.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
        file = (directory / LOCK).open("a+", encoding="utf-8")
    except OSError as error:
        raise StorageError(f"The lock of {directory} cannot be opened: {error.strerror}.") from error
    with file:
        got = try_lock(file, fcntl.LOCK_EX)
        if got == "refused":
            raise RequestError(
                f"Only one training may work in a directory; {directory} is in use by {trainer_at_work(directory)}. "
                "Wait for it, stop it, or choose another directory with --out."
            )
        if got == "unknown":
            tell(f"The file system of {directory} has no locks: nothing keeps a second training out.")
        file.truncate(0)
        file.write(f"process {os.getpid()} on {platform.node()} since {time.strftime('%Y-%m-%d %H:%M:%S')}")
        file.flush()
        try:
            yield
        finally:
            file.truncate(0)


def trainer_at_work(directory: Path) -> str | None:
    """Says which process trains in a directory, if any."""
    try:
        with (directory / LOCK).open(encoding="utf-8") as file:
            if try_lock(file, fcntl.LOCK_SH) == "refused":
                return file.read() or "a process that is just starting"
    except OSError:
        pass
    return None
