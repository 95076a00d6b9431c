"""Decides how many tasks of a stage go into one call: as many as take about a second, by those that ended last.

Strategy: the first task of a stage goes alone and is timed. From then on calls grow, at most eightfold, towards a
second, so that the scheduler does not hear of each of a million short tasks. A block may take a thousand times as long
as its empty neighbour, so the worker has the last word: after a second it begins no further task of the call, and the
driver takes back the rest.
"""

from __future__ import annotations

CALL_SECONDS = 1.0
LARGEST_CALL = 512
GROWTH = 8


class Pace:
    """Chooses the size of the calls of one stage."""

    def __init__(self) -> None:
        self._size = self._largest = 1

    def measured(self, tasks: int, seconds: float) -> None:
        """Notes that a call with so many tasks, one after the other, took so long."""
        self._largest = max(self._largest, tasks)
        fitting = int(CALL_SECONDS * tasks / max(seconds, 1e-6))
        self._size = max(1, min(fitting, GROWTH * self._largest, LARGEST_CALL))

    def size(self, left: int, workers: int) -> int:
        """Returns the number of tasks to put into a call.

        Args:
            left: tasks of the stage that have not been started.
            workers: that run them; towards the end calls become small, so that all of these are busy until then.
        """
        return max(1, min(self._size, left // (2 * max(1, workers))))
