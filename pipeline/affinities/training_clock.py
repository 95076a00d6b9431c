"""Measures the time of a training, without the time that it waits."""

from __future__ import annotations

import time


class TrainingClock:
    """Measures a training: all of it, the steps since its last line of the log, and the time since its last state.

    Args:
        seconds: seconds that were trained before.
    """

    def __init__(self, seconds: float) -> None:
        now = time.perf_counter()
        self._began, self._logged, self._saved = now - seconds, now, now

    def seconds(self) -> float:
        """Returns the seconds of training so far."""
        return time.perf_counter() - self._began

    def lap(self) -> float:
        """Returns the seconds since the last lap ended, and ends this one."""
        now = time.perf_counter()
        seconds, self._logged = now - self._logged, now
        return seconds

    def is_due(self, minutes: float | None) -> bool:
        """Tells whether the last state is so old; never, unless minutes are given."""
        return minutes is not None and time.perf_counter() - self._saved >= 60 * minutes

    def saved(self) -> None:
        """Notes that a state has been saved."""
        self._saved = time.perf_counter()

    def waited(self, seconds: float) -> None:
        """Leaves out seconds in which nothing was trained."""
        self._began += seconds
        self._logged += seconds
