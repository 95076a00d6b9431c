"""The limit on a task's time: workers leave a traceback in a file and end; the driver finds it there and says so."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import TracebackType
from typing import Self

from ...cluster.quantities import parse_seconds
from ...pipeline.errors import StorageError
from .attempt import THIS_FILE


class Hangs:
    """Keeps the traceback files of all calls, in a folder that exists while the run does; a context manager.

    Args:
        folder: none: nothing is watched.
        limit: limit of one task, as in a recipe.

    Attributes:
        reason: why a task failed that took longer.
    """

    def __init__(self, folder: Path | None, limit: str) -> None:
        self._folder, self._seconds = folder, parse_seconds(limit)
        self.reason = f"it took longer than limits.task = {limit}, so it was taken to hang, and its worker was ended"

    def __enter__(self) -> Self:
        if self._folder is not None:
            try:
                shutil.rmtree(self._folder, ignore_errors=True)  # of a driver that was killed
                self._folder.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise StorageError(f"The folder {self._folder} cannot be made: {error.strerror}.") from error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)

    def watch(self, call: int) -> tuple[float | None, str]:
        """Returns the limit in seconds, and the file for the traceback of a call."""
        return (None, "") if self._folder is None else (self._seconds, str(self._folder / f"{call}.txt"))

    def trace(self, call: int) -> str:
        """Returns the traceback of a call that was ended for taking too long; empty for any other."""
        if self._folder is None:
            return ""
        file = self._folder / f"{call}.txt"
        try:
            text = file.read_text(encoding="utf-8", errors="replace")
            file.unlink()
        except OSError:
            return ""
        return _of_task(text)


def _of_task(text: str) -> str:
    """The thread that ran the task, of all those of a worker; all, where it is not to be found."""
    threads = [thread for thread in text.split("\n\n") if THIS_FILE in thread]
    return "\n\n".join(threads) or text
