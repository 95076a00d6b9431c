"""Shares of tasks under way: a worker writes them beside the run, every few seconds, and the driver reads them."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping
from pathlib import Path

EVERY = 2.0
"""Seconds between two writings of one worker, and before the first."""
WATCHED = 64
"""Calls whose files are read; more would ask too much of a file system, so that the others count like these."""


class Part:
    """Writes how much of a call is done into a file, which goes with the call; only calls that take long have one.

    Args:
        path: the file; empty: nobody wants to know.
    """

    def __init__(self, path: str) -> None:
        self._path = Path(path) if path else None
        self._next = time.monotonic() + EVERY

    def tell(self, done: float) -> None:
        """Notes the tasks of the call that are done, the share of the one under way included."""
        if self._path is None or time.monotonic() < self._next:
            return
        self._next = time.monotonic() + EVERY
        with contextlib.suppress(OSError):  # nothing rests on it
            self._path.write_text(f"{done:.4f}", encoding="utf-8")

    def close(self) -> None:
        if self._path is not None:
            with contextlib.suppress(OSError):
                self._path.unlink(missing_ok=True)


class Parts:
    """Reads how much of the calls under way is done.

    Args:
        folder: a folder that all workers see; none: nothing is read.
    """

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder

    def path(self, call: int) -> str:
        """Returns the file of a call."""
        return "" if self._folder is None else str(self._folder / f"{call}.part")

    def of(self, calls: Mapping[int, str]) -> dict[str, float]:
        """Adds up the tasks that are done in calls under way, by the stage of each call."""
        watched = list(calls.items())[:WATCHED]
        found: dict[str, float] = {}
        for call, stage in watched:
            found[stage] = found.get(stage, 0.0) + self._read(call)
        return {stage: part * len(calls) / len(watched) for stage, part in found.items() if part}

    def _read(self, call: int) -> float:
        if self._folder is None:
            return 0.0
        try:
            return float((self._folder / f"{call}.part").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return 0.0
