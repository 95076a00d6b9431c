"""The ledger of a run: one SQLite file, written by the driver alone, one row a task."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import platform
import sqlite3
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self, TextIO

import numpy as np
import numpy.typing as npt

from ..pipeline.errors import RequestError, StorageError

State = Literal["done", "empty", "masked", "failed"]

LOCK = "lock"

_TABLES = """
CREATE TABLE IF NOT EXISTS stages (
    name TEXT PRIMARY KEY, position INTEGER, tasks INTEGER, fingerprint TEXT, ingredients TEXT);
CREATE TABLE IF NOT EXISTS tasks (
    stage TEXT, number INTEGER, state TEXT, fingerprint TEXT, attempts INTEGER, seconds REAL, worker TEXT,
    peak_memory INTEGER, voxels INTEGER, counts TEXT, error TEXT, session INTEGER, ended REAL,
    PRIMARY KEY (stage, number)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS foundation (name TEXT PRIMARY KEY, value TEXT);
CREATE TABLE IF NOT EXISTS outputs (path TEXT PRIMARY KEY, stage TEXT, fingerprint TEXT);
CREATE TABLE IF NOT EXISTS sessions (
    id INTEGER PRIMARY KEY, started REAL, ended REAL, host TEXT, process INTEGER, exit_status INTEGER);
"""


@dataclass(frozen=True)
class Row:
    """What the ledger keeps of a task; a row of a task that has one adds its attempts to those before."""

    stage: str
    number: int
    state: State
    fingerprint: str
    seconds: float
    worker: str
    peak_memory: int
    voxels: int = 0
    counts: Mapping[str, int] | None = None
    error: str | None = None


@dataclass(frozen=True)
class Summary:
    """A stage as the ledger knows it: counts of tasks, seconds of all of them together, bytes of the largest."""

    name: str
    tasks: int
    done: int
    empty: int
    failed: int
    attempts: int
    seconds: float
    peak_memory: int
    voxels: int


class Ledger:
    """An open ledger; a context manager.

    Args:
        path: of the SQLite file; made unless `readonly`.
        readonly: only look, beside a driver that may be writing.

    Raises:
        RequestError: it is not there, or is no ledger.
        StorageError: it cannot be written.
    """

    def __init__(self, path: Path, *, readonly: bool = False) -> None:
        self.path = path
        self._session = 0
        try:
            mode = "ro" if readonly else "rwc"
            self._db = sqlite3.connect(f"{path.absolute().as_uri()}?mode={mode}", uri=True, isolation_level=None)
            if not readonly:
                self._db.execute("PRAGMA journal_mode = WAL")
                self._db.execute("PRAGMA synchronous = NORMAL")
                self._db.executescript(_TABLES)
            self._db.execute("SELECT COUNT(*) FROM stages")
        except sqlite3.DatabaseError as error:
            raise self._refusal(error) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._db.close()

    def begin(self) -> None:
        """Note that a driver has started."""
        with self._transaction():
            self._session = self._db.execute(
                "INSERT INTO sessions (started, host, process) VALUES (?, ?, ?) RETURNING id",
                (time.time(), platform.node(), os.getpid()),
            ).fetchone()[0]

    def end(self, exit_status: int) -> None:
        """Note that it ended on its own."""
        with self._transaction():
            self._db.execute(
                "UPDATE sessions SET ended = ?, exit_status = ? WHERE id = ?", (time.time(), exit_status, self._session)
            )

    def foundation(self) -> dict[str, Any]:
        """What the run was begun with and cannot be continued without; empty in a new ledger."""
        return {name: json.loads(value) for name, value in self._db.execute("SELECT name, value FROM foundation")}

    def lay_foundation(self, foundation: Mapping[str, Any]) -> None:
        """Note what the run is begun with."""
        with self._transaction():
            rows = [(name, json.dumps(value)) for name, value in foundation.items()]
            self._db.executemany("INSERT OR REPLACE INTO foundation VALUES (?, ?)", rows)

    def ingredients(self) -> dict[str, dict[str, Any]]:
        """For each stage, what its fingerprint was made from when it last ran."""
        return {name: json.loads(text) for name, text in self._db.execute("SELECT name, ingredients FROM stages")}

    def adopt(self, stages: Iterable[tuple[str, int, str, Mapping[str, Any]]]) -> None:
        """Make stages (name, tasks, fingerprint, ingredients) current and forget their rows of other fingerprints.

        Whatever was done with another fingerprint is no longer done from here on, before anything is written over it.
        """
        with self._transaction():
            self._db.execute("UPDATE stages SET position = NULL")
            for position, (name, tasks, fingerprint, ingredients) in enumerate(stages):
                self._db.execute(
                    "INSERT OR REPLACE INTO stages VALUES (?, ?, ?, ?, ?)",
                    (name, position, tasks, fingerprint, json.dumps(ingredients)),
                )
                self._db.execute("DELETE FROM tasks WHERE stage = ? AND fingerprint != ?", (name, fingerprint))

    def forget(self, stage: str) -> None:
        """No task of a stage is done any more."""
        with self._transaction():
            self._db.execute("DELETE FROM tasks WHERE stage = ?", (stage,))

    def outputs(self) -> dict[str, str]:
        """What this run has made, by path: the fingerprint of the stage that it was made for."""
        return dict(self._db.execute("SELECT path, fingerprint FROM outputs"))

    def made(self, path: str, stage: str, fingerprint: str) -> None:
        """Note that an output has been made, empty, for a stage."""
        with self._transaction():
            self._db.execute("INSERT OR REPLACE INTO outputs VALUES (?, ?, ?)", (path, stage, fingerprint))

    def done(self, stage: str, tasks: int, fingerprint: str) -> npt.NDArray[np.bool_]:
        """Which tasks of a stage are done, or were empty, with a fingerprint: one byte a task."""
        done = np.zeros(tasks, dtype=np.bool_)
        cursor = self._db.execute(
            "SELECT number FROM tasks WHERE stage = ? AND fingerprint = ? AND state != 'failed'", (stage, fingerprint)
        )
        while rows := cursor.fetchmany(10_000):
            done[[number for (number,) in rows]] = True
        return done

    def record(self, rows: Iterable[Row]) -> None:
        """Write what became of tasks, all or none of it.

        Raises:
            StorageError: the disk is full, or refuses otherwise.
        """
        ended = time.time()
        with self._transaction():
            self._db.executemany(
                "INSERT INTO tasks VALUES (?, ?, ?, ?, 1, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET"
                " state = excluded.state, attempts = attempts + 1, seconds = excluded.seconds,"
                " worker = excluded.worker, peak_memory = excluded.peak_memory, voxels = excluded.voxels,"
                " counts = excluded.counts, error = excluded.error, session = excluded.session, ended = excluded.ended",
                [
                    (
                        row.stage,
                        row.number,
                        row.state,
                        row.fingerprint,
                        row.seconds,
                        row.worker,
                        row.peak_memory,
                        row.voxels,
                        json.dumps(dict(row.counts)) if row.counts else None,
                        row.error,
                        self._session,
                        ended,
                    )
                    for row in rows
                ],
            )

    def summaries(self) -> list[Summary]:
        """Every current stage, in order."""
        query = """
            SELECT s.name, s.tasks, TOTAL(t.state = 'done'), TOTAL(t.state = 'empty'), TOTAL(t.state = 'failed'),
                TOTAL(t.attempts), TOTAL(t.seconds), COALESCE(MAX(t.peak_memory), 0), TOTAL(t.voxels)
            FROM stages s LEFT JOIN tasks t ON t.stage = s.name
            WHERE s.position IS NOT NULL GROUP BY s.name ORDER BY s.position"""
        return [
            Summary(name, tasks, int(done), int(empty), int(failed), int(attempts), seconds, peak, int(voxels))
            for name, tasks, done, empty, failed, attempts, seconds, peak, voxels in self._db.execute(query)
        ]

    def counts(self, stage: str) -> dict[str, int]:
        """The counts that a stage's tasks reported, added up."""
        total: dict[str, int] = {}
        for (text,) in self._db.execute("SELECT counts FROM tasks WHERE stage = ? AND counts IS NOT NULL", (stage,)):
            for name, value in json.loads(text).items():
                total[name] = total.get(name, 0) + value
        return total

    def seconds(self) -> float:
        """How long drivers have been at work, all sessions together; of one that was killed, until its last task."""
        query = """
            SELECT TOTAL(COALESCE(ended, (SELECT MAX(t.ended) FROM tasks t WHERE t.session = sessions.id), started)
                - started) FROM sessions"""
        return float(self._db.execute(query).fetchone()[0])

    def failures(self, limit: int = 10) -> list[tuple[str, int, int, str]]:
        """Tasks set aside: stage, number, attempts, and why."""
        query = (
            "SELECT t.stage, t.number, t.attempts, t.error FROM tasks t JOIN stages s ON s.name = t.stage"
            " WHERE t.state = 'failed' AND s.position IS NOT NULL ORDER BY s.position, t.number LIMIT ?"
        )
        return list(self._db.execute(query, (limit,)))

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        try:
            self._db.execute("BEGIN IMMEDIATE")
            with self._db:
                yield
        except sqlite3.DatabaseError as error:
            raise self._refusal(error) from error

    def _refusal(self, error: sqlite3.DatabaseError) -> RequestError | StorageError:
        if isinstance(error, sqlite3.OperationalError) and "unable to open" not in str(error):
            return StorageError(
                f"The ledger {self.path} cannot be written: {error}. Free some space there, or choose another"
                " run directory with --run; nothing that is done is lost."
            )
        return RequestError(f"There is no readable ledger at {self.path} ({error}); is this a run directory?")


@contextlib.contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Keep other drivers out of a run directory; the lock ends with the process, however that ends.

    Raises:
        RequestError: another driver is at work there, or another run reads from it.
    """
    with (directory / LOCK).open("a+", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise RequestError(
                f"Only one driver may work on a run directory; {directory} is in use by {_user(file)}."
                " Wait for it, stop it, or choose another directory with --run."
            ) from error
        file.truncate(0)
        file.write(f"process {os.getpid()} on {platform.node()} since {time.strftime('%Y-%m-%d %H:%M:%S')}")
        file.flush()
        yield


@contextlib.contextmanager
def read_locked(directory: Path) -> Iterator[None]:
    """Keep drivers out of a run directory while another run reads from it; nothing is written there.

    Raises:
        RequestError: a driver is at work there.
    """
    with (directory / LOCK).open(encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise RequestError(
                f"Nothing can start from a run while a driver works on it; {directory} is in use by {_user(file)}."
                " Wait for it, or stop it."
            ) from error
        yield


def _user(file: TextIO) -> str:
    """Who holds a lock that is not to be had."""
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        file.seek(0)
        return file.read().strip()
    return "a run that reads from it"
