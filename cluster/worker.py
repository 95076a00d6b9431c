"""What a worker process does before anything else; Dask loads it there."""

from __future__ import annotations

import signal


def dask_setup(worker: object) -> None:
    """Leave Ctrl-C to the driver: a terminal sends it to all processes, and the driver ends its workers in order."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
