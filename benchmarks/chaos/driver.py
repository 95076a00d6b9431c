"""`petavox run` as a process of its own with everything that it starts, and what its ledger says."""

from __future__ import annotations

import contextlib
import os
import signal
import sqlite3
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

PATIENCE = 600.0  # seconds for anything that has to happen at all; a busy machine may need many of them
GRACE = 60.0  # seconds after which nothing that a driver started may be left
_AT_WORK = 150e6  # bytes: a worker that holds them has loaded the kernels of a task


class Driver:
    """A running command in a session of its own, so that whatever it starts can be told from everything else.

    Args:
        command: of petavox.
        said: file for what it says.
        environment: variables that it gets besides.
        within: words before the command, such as those that enter a network namespace.
    """

    def __init__(
        self, command: Sequence[str], said: Path, environment: Mapping[str, str], within: Sequence[str] = ()
    ) -> None:
        self._said = said
        with said.open("wb") as output:
            self._process = subprocess.Popen(
                [*within, *command],
                stdout=subprocess.DEVNULL,
                stderr=output,
                env={**os.environ, **environment},
                cwd=said.parent,
                start_new_session=True,
            )
        self.pid = self._process.pid

    @property
    def running(self) -> bool:
        return self._process.poll() is None

    @property
    def said(self) -> str:
        """What it has written to standard error."""
        return self._said.read_text(encoding="utf-8", errors="replace")

    def family(self) -> list[psutil.Process]:
        """All processes of its session but itself, whoever their parent is by now."""
        return [
            process for process in psutil.process_iter() if process.pid != self.pid and _session(process) == self.pid
        ]

    def workers(self) -> list[psutil.Process]:
        """Its worker processes that have loaded what tasks need."""
        return [process for process in self.family() if _memory(process) > _AT_WORK]

    def until(self, condition: Callable[[], object]) -> bool:
        """Wait until something holds; whether it does before the command ends."""
        deadline = time.monotonic() + PATIENCE
        while self.running and time.monotonic() < deadline:
            if condition():
                return True
            time.sleep(0.05)
        return bool(condition())

    def wait(self) -> int:
        """Its exit status.

        Raises:
            TimeoutError: it does not end; it is killed.
        """
        try:
            return self._process.wait(PATIENCE)
        except subprocess.TimeoutExpired as error:
            self.kill(everything=True)
            raise TimeoutError(f"the command did not end within {PATIENCE:.0f} s") from error

    def kill(self, *, everything: bool = False) -> None:
        """Kill −9: the driver alone, or its whole session at the same moment."""
        if everything:
            for process in self.family():
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.suspend()  # so that nobody outlives another
        for pid in [self.pid, *(p.pid for p in self.family() if everything)]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._process.wait()

    def orphans(self) -> list[psutil.Process]:
        """What is left of its session after the grace; killed, so that nothing disturbs what comes next."""
        deadline = time.monotonic() + GRACE
        while (left := self.family()) and time.monotonic() < deadline:
            time.sleep(0.2)
        for process in left:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        return left


def _session(process: psutil.Process) -> int | None:
    try:
        return None if process.status() == psutil.STATUS_ZOMBIE else os.getsid(process.pid)
    except (psutil.Error, ProcessLookupError):
        return None


def _memory(process: psutil.Process) -> int:
    try:
        return int(process.memory_info().rss)
    except psutil.Error:
        return 0


@dataclass(frozen=True)
class Entry:
    """What a ledger holds of one task."""

    state: str
    attempts: int
    session: int
    seconds: float

    @property
    def done(self) -> bool:
        return self.state not in ("failed", "aside")


Books = dict[tuple[str, int], Entry]


def books(run: Path) -> Books:
    """Every task in the ledger of a run, by stage and number; none where there is no ledger yet."""
    rows = _ask(run, "SELECT stage, number, state, attempts, session, seconds FROM tasks")
    return {(stage, number): Entry(*rest) for stage, number, *rest in rows}


def tasks(run: Path) -> int:
    """How many tasks the present stages of a run have; 0 where there is no ledger."""
    return sum(count for (count,) in _ask(run, "SELECT tasks FROM stages WHERE position IS NOT NULL"))


def _ask(run: Path, query: str) -> list[tuple[Any, ...]]:
    address = f"file:{run / 'ledger.sqlite'}?mode=ro"
    with contextlib.suppress(sqlite3.OperationalError):
        connection = sqlite3.connect(address, uri=True)
        with contextlib.closing(connection):
            return connection.execute(query).fetchall()
    return []
