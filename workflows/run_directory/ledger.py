"""The ledger of a run: one SQLite file, written by the driver alone, one row of integers a task.

On a disk of one machine others may look into it while the driver writes. On a disk that machines share, only one
process may have a SQLite file in WAL mode open, so the driver keeps everybody else out there.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from ...pipeline.errors import RequestError, StorageError
from .ledger_schema import LAYOUT, SETTLED, STATES, TABLES, Row, Summary
from .local_disk import is_local

_SIGN = 1 << 63
_PIECE = 100_000
"""Tasks looked at together."""


class Ledger:
    """Opens a ledger; it is a context manager.

    Args:
        path: path of the SQLite file; made unless `readonly`.
        readonly: only look: beside a driver that may be writing, on a disk of this machine alone; else when no driver
            is at work.
        check: is called before everything that is written; raises if this driver may not write any more.

    Raises:
        RequestError: it is not there, is damaged, is no ledger, or was written by another version.
        StorageError: it cannot be written.
    """

    def __init__(self, path: Path, *, readonly: bool = False, check: Callable[[], None] = lambda: None) -> None:
        self.path = path
        self._check = check
        self._session = 0
        self._began = time.monotonic()
        self._stages: dict[tuple[str, str], int] = {}
        self._words: dict[str, int] = {}
        self._on_recorded: Callable[[Sequence[Row]], None] = lambda rows: None
        try:
            self._db = self._connected("ro" if readonly else "rwc")
            (layout,) = self._db.execute("PRAGMA user_version").fetchone()
            (tables,) = self._db.execute("SELECT COUNT(*) FROM sqlite_schema").fetchone()
            if tables and layout != LAYOUT:
                raise RequestError(
                    f"Ledgers have layout {LAYOUT} in this version of petavox; {path} has {layout}. Continue the run"
                    " with the version that made it, or choose another run directory with --run."
                )
            if not readonly:
                self._db.execute("PRAGMA journal_mode = WAL")
                self._db.execute("PRAGMA synchronous = NORMAL")
                self._db.executescript(TABLES)
                self.check_integrity()
            self._stages = self._known_stages()
            self._words = {word: i for i, word in self._db.execute("SELECT id, word FROM words")}
        except sqlite3.DatabaseError as error:
            raise self._refusal(error) from error

    def _connected(self, mode: str) -> sqlite3.Connection:
        address = f"{self.path.absolute().as_uri()}?mode={mode}"
        # Looking in when nobody writes leaves no files behind, either.
        nobody_writes = mode == "ro" and not self.path.with_name(f"{self.path.name}-wal").exists()
        if is_local(self.path.parent) and not nobody_writes:
            return sqlite3.connect(address, uri=True, isolation_level=None)
        # SQLite's own locks are left out: they may hang for ever on machines that are gone, and ours is there.
        db = sqlite3.connect(f"{address}&vfs=unix-none", uri=True, isolation_level=None)
        db.execute("PRAGMA locking_mode = EXCLUSIVE")
        return db

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._db.close()

    # --- sessions of drivers ---------------------------------------------------------------------------------------

    def begin(self) -> None:
        """Note that a driver has started, and of one that was killed how long it worked: until its last task."""
        self._began = time.monotonic()
        with self._transaction():
            self._db.execute(
                "UPDATE sessions SET seconds = COALESCE("
                "(SELECT MAX(ended) FROM rows WHERE session = sessions.id), 0) / 1e3 WHERE seconds IS NULL"
            )
            self._session = self._db.execute(
                "INSERT INTO sessions (started, host, process) VALUES (?, ?, ?) RETURNING id",
                (time.time(), platform.node(), os.getpid()),
            ).fetchone()[0]

    def end(self, exit_status: int) -> None:
        """Note that it ended on its own."""
        with self._transaction():
            self._db.execute(
                "UPDATE sessions SET seconds = ?, exit_status = ? WHERE id = ?",
                (time.monotonic() - self._began, exit_status, self._session),
            )

    def seconds(self) -> float:
        """Counts the seconds that drivers have been at work in all; a killed driver counts until its last task."""
        query = """SELECT TOTAL(COALESCE(seconds,
            (SELECT MAX(ended) FROM rows WHERE session = sessions.id) / 1e3)) FROM sessions"""
        return float(self._db.execute(query).fetchone()[0])

    def seconds_of_session(self) -> float:
        """Counts the seconds since this driver has begun, or those that it was at work if it has ended."""
        query = "SELECT seconds FROM sessions WHERE id = ?"
        ended = self._db.execute(query, (self._session,)).fetchone()[0]
        return time.monotonic() - self._began if ended is None else float(ended)

    # --- what the run is made from ---------------------------------------------------------------------------------

    def foundation(self) -> dict[str, Any]:
        """Returns the settings that the run cannot be continued without; empty in a new ledger."""
        return {name: json.loads(value) for name, value in self._db.execute("SELECT name, value FROM foundation")}

    def lay_foundation(self, foundation: Mapping[str, Any]) -> None:
        """Note what the run is begun with."""
        with self._transaction():
            rows = [(name, json.dumps(value)) for name, value in foundation.items()]
            self._db.executemany("INSERT OR REPLACE INTO foundation VALUES (?, ?)", rows)

    def ingredients(self) -> dict[str, dict[str, Any]]:
        """Returns, for each stage, what its fingerprint was made from when it last ran."""
        return {name: json.loads(text) for name, text in self._db.execute("SELECT name, ingredients FROM stages")}

    def fingerprints(self) -> dict[str, str]:
        """Returns the fingerprint of each current stage."""
        return dict(self._db.execute("SELECT name, fingerprint FROM stages WHERE position IS NOT NULL"))

    def adopt(self, stages: Iterable[tuple[str, int, str, Mapping[str, Any]]]) -> None:
        """Make stages (name, tasks, fingerprint, ingredients) current and forget their rows of other fingerprints.

        Whatever was done with another fingerprint is no longer done from here on, before anything is written over it.
        """
        with self._transaction():
            self._db.execute("UPDATE stages SET position = NULL")
            for position, (name, tasks, fingerprint, ingredients) in enumerate(stages):
                others = "(SELECT id FROM stages WHERE name = ? AND fingerprint != ?)"
                for delete in ("rows WHERE stage", "failures WHERE stage", "stages WHERE id"):
                    self._db.execute(f"DELETE FROM {delete} IN {others}", (name, fingerprint))
                self._db.execute(
                    "INSERT INTO stages (name, fingerprint, position, tasks, ingredients) VALUES (?, ?, ?, ?, ?)"
                    " ON CONFLICT DO UPDATE SET position = excluded.position, tasks = excluded.tasks,"
                    " ingredients = excluded.ingredients",
                    (name, fingerprint, position, tasks, json.dumps(ingredients)),
                )
            self._stages = self._known_stages()

    def outputs(self) -> dict[str, str]:
        """Lists the outputs of this run, by path: the fingerprint of the stage that each was made for."""
        return dict(self._db.execute("SELECT path, fingerprint FROM outputs"))

    def record_output(self, path: str, stage: str, fingerprint: str) -> None:
        """Note that an output has been made, empty, for a stage."""
        with self._transaction():
            self._db.execute("INSERT OR REPLACE INTO outputs VALUES (?, ?, ?)", (path, stage, fingerprint))

    # --- tasks -----------------------------------------------------------------------------------------------------

    def forget(self, stage: str) -> None:
        """Forgets the rows of a stage: none of its tasks is done any more."""
        with self._transaction():
            self._db.execute("DELETE FROM rows WHERE stage IN (SELECT id FROM stages WHERE name = ?)", (stage,))

    def undo(self, stage: str, fingerprint: str, numbers: Iterable[int]) -> None:
        """Marks tasks of a stage to be done again; their attempts stay counted."""
        with self._transaction():
            self._db.executemany(
                "UPDATE rows SET state = ? WHERE stage = ? AND number = ?",
                [(STATES.index("failed"), self._stages.get((stage, fingerprint)), number) for number in numbers],
            )

    def done(self, stage: str, tasks: int, fingerprint: str) -> npt.NDArray[np.bool_]:
        """Marks the tasks of a stage that have nothing left to do, with a fingerprint: one byte a task."""
        done = np.zeros(tasks, dtype=np.bool_)
        for (numbers,) in self._settled(stage, tasks, fingerprint, "number"):
            done[numbers] = True
        return done

    def checksums(self, stage: str, tasks: int, fingerprint: str) -> npt.NDArray[np.uint64]:
        """Returns the checksums of what a stage's tasks have left; 0 where they left nothing, or are not done."""
        checksums = np.zeros(tasks, dtype=np.uint64)
        for numbers, values in self._settled(stage, tasks, fingerprint, "number", "COALESCE(checksum, 0)"):
            checksums[numbers] = values.view(np.uint64)
        return checksums

    def _settled(self, stage: str, tasks: int, fingerprint: str, *columns: str) -> Iterator[npt.NDArray[np.int64]]:
        """Integer columns of the tasks that have nothing left to do, in pieces: (columns, tasks)."""
        # As text, which NumPy reads five times as fast as Python takes rows from SQLite.
        joined = ", ".join(f"GROUP_CONCAT({column})" for column in columns)
        query = f"SELECT {joined} FROM rows WHERE stage = ? AND state < ? AND number BETWEEN ? AND ?"
        known = self._stages.get((stage, fingerprint))
        for first in range(0, tasks, _PIECE):
            texts = self._db.execute(query, (known, SETTLED, first, first + _PIECE - 1)).fetchone()
            if texts[0] is not None:
                yield np.array([np.fromstring(text, np.int64, sep=",") for text in texts])

    def record(self, rows: Iterable[Row]) -> None:
        """Write what became of tasks, all or none of it.

        Raises:
            LockError: this driver may not write any more.
            StorageError: the disk is full, or refuses otherwise.
        """
        rows = list(rows)
        ended = int((time.monotonic() - self._began) * 1e3)
        with self._transaction():
            written = [self._compact(row, ended) for row in rows]
            self._db.executemany(
                "INSERT INTO rows VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET"
                " state = excluded.state, attempts = attempts + excluded.attempts,"
                " microseconds = excluded.microseconds, peak_memory = excluded.peak_memory, worker = excluded.worker,"
                " voxels = excluded.voxels, checksum = excluded.checksum, counts = excluded.counts,"
                " session = excluded.session, ended = excluded.ended",
                written,
            )
        self._on_recorded(rows)

    def notify(self, listener: Callable[[Sequence[Row]], None]) -> None:
        """Has a listener told of the rows that are recorded from now on."""
        self._on_recorded = listener

    def _compact(self, row: Row, ended: int) -> tuple[int | str | None, ...]:
        """A row as integers; why a task failed goes into a table of its own."""
        stage, worker = self._stage(row.stage, row.fingerprint), self._word(row.worker)
        if row.error is not None:
            failure = (stage, row.number, self._session, ended, worker, row.error)
            self._db.execute("INSERT INTO failures VALUES (?, ?, ?, ?, ?, ?)", failure)
        checksum, counts = row.checksum, None
        if checksum is not None and checksum >= _SIGN:
            checksum -= 2 * _SIGN  # SQLite's integers have a sign
        if row.counts:
            pairs = ",".join(f"{self._word(name)},{value}" for name, value in row.counts.items())
            counts = f"[{pairs}]"
        return (
            stage,
            row.number,
            STATES.index(row.state),
            row.attempts,
            int(row.seconds * 1e6),
            row.peak_memory,
            worker,
            row.voxels,
            checksum,
            counts,
            self._session,
            ended,
        )

    def _known_stages(self) -> dict[tuple[str, str], int]:
        return {(name, mark): i for i, name, mark in self._db.execute("SELECT id, name, fingerprint FROM stages")}

    def _stage(self, name: str, fingerprint: str) -> int:
        known = self._stages.get((name, fingerprint))
        if known is None:
            query = "INSERT INTO stages (name, fingerprint, ingredients) VALUES (?, ?, '{}') RETURNING id"
            known = self._stages[name, fingerprint] = self._db.execute(query, (name, fingerprint)).fetchone()[0]
        return known

    def _word(self, word: str) -> int:
        """The number that stands for a name which comes again and again."""
        known = self._words.get(word)
        if known is None:
            known = self._db.execute("INSERT INTO words (word) VALUES (?) RETURNING id", (word,)).fetchone()[0]
            self._words[word] = known
        return known

    # --- what became of them ---------------------------------------------------------------------------------------

    def summaries(self) -> list[Summary]:
        """Sums up every current stage, in order."""
        states = ", ".join(f"TOTAL(r.state = {i})" for i in range(len(STATES)))
        query = f"""
            SELECT s.name, s.tasks, {states}, TOTAL(r.attempts), TOTAL((r.state < {SETTLED}) * r.microseconds) / 1e6,
                COALESCE(MAX(r.peak_memory), 0), TOTAL(r.voxels)
            FROM stages s LEFT JOIN rows r ON r.stage = s.id
            WHERE s.position IS NOT NULL GROUP BY s.id ORDER BY s.position"""
        return [
            Summary(
                name=name,
                tasks=tasks,
                **dict(zip(STATES, map(int, counts[:-1]), strict=True)),
                attempts=int(counts[-1]),
                seconds=seconds,
                peak_memory=peak,
                voxels=int(voxels),
            )
            for name, tasks, *counts, seconds, peak, voxels in self._db.execute(query)
        ]

    def counts(self, stage: str) -> dict[str, int]:
        """Adds up the counts that a stage's tasks reported."""
        words = {i: word for word, i in self._words.items()}
        total: dict[str, int] = {}
        query = "SELECT counts FROM rows WHERE stage IN (SELECT id FROM stages WHERE name = ?) AND counts IS NOT NULL"
        for (text,) in self._db.execute(query, (stage,)):
            pairs = json.loads(text)
            for word, value in zip(pairs[::2], pairs[1::2], strict=True):
                total[words[word]] = total.get(words[word], 0) + value
        return total

    def failures(self, limit: int = 10) -> list[tuple[str, int, int, str]]:
        """Lists the tasks that failed last and were set aside: stage, number, attempts, and why."""
        query = """
            SELECT s.name, r.number, r.attempts, COALESCE((SELECT f.error FROM failures f
                WHERE f.stage = r.stage AND f.number = r.number ORDER BY f.rowid DESC LIMIT 1), '')
            FROM rows r JOIN stages s ON s.id = r.stage
            WHERE r.state >= ? AND s.position IS NOT NULL ORDER BY s.position, r.number LIMIT ?"""
        return list(self._db.execute(query, (SETTLED, limit)))

    def check_integrity(self) -> None:
        """Make sure that the file is whole; a fifth of a second for a million rows.

        Raises:
            RequestError: it is damaged.
        """
        try:
            (verdict,) = self._db.execute("PRAGMA quick_check(1)").fetchone()
        except sqlite3.DatabaseError as error:
            raise self._refusal(error) from error
        if verdict != "ok":
            raise self._damaged(verdict)

    def copy(self, path: Path) -> None:
        """Copy it as it is now into a new file; SQLite's own errors."""
        target = sqlite3.connect(f"{path.absolute().as_uri()}?mode=rwc&vfs=unix-none", uri=True)
        try:
            self._db.backup(target)
        finally:
            target.close()

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        self._check()
        known = dict(self._stages), dict(self._words)
        try:
            self._db.execute("BEGIN IMMEDIATE")
            with self._db:
                yield
        except BaseException as error:
            self._stages, self._words = known  # what was made up meanwhile is not in the file
            if isinstance(error, sqlite3.DatabaseError):
                raise self._refusal(error) from error
            raise

    def _refusal(self, error: sqlite3.DatabaseError) -> RequestError | StorageError:
        if isinstance(error, sqlite3.OperationalError) and "unable to open" not in str(error):
            return StorageError(
                f"The ledger {self.path} cannot be written: {error}. Free some space there, or choose another"
                " run directory with --run; nothing that is done is lost."
            )
        return self._damaged(str(error))

    def _damaged(self, why: str) -> RequestError:
        directory = self.path.parent
        return RequestError(
            f"There is no readable ledger at {self.path} ({why}). If {directory} is a run directory, the ledger is"
            f" damaged; to go on from a copy of it, and look at everything: petavox audit {directory} --repair"
        )
