"""A machine for ourselves: idle trainings wait while a benchmark runs."""

from __future__ import annotations

from typing import IO

from petavox.workflows.models.benchmark_lock import pause_idle_trainings

_held: list[IO[str]] = []


def pause() -> None:
    """Make idle trainings wait until this process ends."""
    lock = pause_idle_trainings()
    if lock is not None:
        _held.append(lock)
