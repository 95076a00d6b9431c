"""Keeps idle trainings and benchmarks of one user apart on one machine: the trainings wait.

Two files are locked. A benchmark shares `benchmark` for as long as it runs, and an idle training shares `step` for as
long as a step takes. A training marks its step first and looks for benchmarks then; a benchmark names itself first and
waits for marked steps then. So no step is under way when a benchmark begins, and none starts before it has ended. All
locks end with their processes.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import tempfile
import time
from pathlib import Path
from typing import IO

from ...pipeline.errors import StorageError
from ...pipeline.file_lock import try_lock, unlock

FOLDER = "PETAVOX_LOCKS"
BENCHMARK, STEP = "benchmark", "step"


def lock_folder() -> Path:
    """Returns the folder of the lock files: $PETAVOX_LOCKS, else one of the user among the temporary files."""
    named = os.environ.get(FOLDER)
    folder = Path(named) if named else Path(tempfile.gettempdir()) / f"petavox-locks-{os.getuid()}"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder


class BenchmarkPause:
    """Tells a training before each of its steps whether a benchmark runs, and marks the step otherwise.

    Raises:
        StorageError: the files that are locked cannot be made.
    """

    def __init__(self) -> None:
        try:
            folder = lock_folder()
            self._benchmark, self._step = (folder / BENCHMARK).open("a"), (folder / STEP).open("a")
        except OSError as error:
            raise StorageError(
                f"An idle training locks files of the user's own; {error.filename} cannot be made: {error.strerror}. "
                f"Set ${FOLDER} to another folder."
            ) from error

    def __call__(self) -> bool:
        """Lets go of the step before; tells whether to wait, or marks the next step."""
        unlock(self._step)
        if try_lock(self._step, fcntl.LOCK_SH) == "refused":
            return True
        busy = try_lock(self._benchmark, fcntl.LOCK_EX, tries=1) == "refused"
        unlock(self._step if busy else self._benchmark)
        return busy

    def close(self) -> None:
        """Lets go of the last step."""
        self._benchmark.close()
        self._step.close()


def pause_idle_trainings(patience: float = 120.0) -> IO[str] | None:
    """Makes idle trainings wait until this process ends.

    Args:
        patience: seconds that a step which is under way may still take.

    Returns:
        The file whose lock they wait for; None where it cannot be made, or where files have no locks.
    """
    try:
        folder = lock_folder()
        lock, steps = (folder / BENCHMARK).open("a"), (folder / STEP).open("a")
    except OSError:
        return None
    with steps, contextlib.suppress(OSError):
        fcntl.flock(lock, fcntl.LOCK_SH)  # a training that looks holds it for a moment
        end = time.monotonic() + patience
        while try_lock(steps, fcntl.LOCK_EX, tries=1) == "refused" and time.monotonic() < end:
            time.sleep(0.05)
        return lock
    return None
