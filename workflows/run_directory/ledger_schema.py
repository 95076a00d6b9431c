"""Defines the contents of a ledger: the states of tasks, one row a task, summaries of stages, and their tables."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

State = Literal["done", "empty", "masked", "failed", "aside"]
"""Done; nothing in the data; nothing asked for; failed and to be tried again; set aside."""

STATES: tuple[State, ...] = get_args(State)
SETTLED = 3
"""How many of the states, from the first on, mean that nothing is left to do."""

LAYOUT = 2
"""Version of the tables below; written into the file."""
APPLICATION = 0x70747678

TABLES = f"""
CREATE TABLE IF NOT EXISTS stages (
    id INTEGER PRIMARY KEY, name TEXT, fingerprint TEXT, position INTEGER, tasks INTEGER, ingredients TEXT,
    UNIQUE (name, fingerprint));
CREATE TABLE IF NOT EXISTS rows (
    stage INTEGER, number INTEGER, state INTEGER, attempts INTEGER, microseconds INTEGER, peak_memory INTEGER,
    worker INTEGER, voxels INTEGER, checksum INTEGER, counts TEXT, session INTEGER, ended INTEGER,
    PRIMARY KEY (stage, number)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS failures (
    stage INTEGER, number INTEGER, session INTEGER, ended INTEGER, worker INTEGER, error TEXT);
CREATE TABLE IF NOT EXISTS words (id INTEGER PRIMARY KEY, word TEXT UNIQUE);
CREATE TABLE IF NOT EXISTS foundation (name TEXT PRIMARY KEY, value TEXT);
CREATE TABLE IF NOT EXISTS outputs (path TEXT PRIMARY KEY, stage TEXT, fingerprint TEXT);
CREATE TABLE IF NOT EXISTS sessions (
    id INTEGER PRIMARY KEY, started REAL, seconds REAL, host TEXT, process INTEGER, exit_status INTEGER);
CREATE VIEW IF NOT EXISTS tasks AS SELECT
    s.name AS stage, number, CASE state {" ".join(f"WHEN {i} THEN '{name}'" for i, name in enumerate(STATES))} END
    AS state, attempts, microseconds / 1e6 AS seconds, peak_memory, w.word AS worker, voxels, checksum, session,
    z.started + r.ended / 1e3 AS ended, (SELECT json_group_object(words.word, value.value)
        FROM json_each(counts) name JOIN json_each(counts) value ON value.key = name.key + 1
        JOIN words ON words.id = name.value WHERE name.key % 2 = 0) AS counts
    FROM rows r JOIN stages s ON s.id = r.stage LEFT JOIN words w ON w.id = r.worker
    LEFT JOIN sessions z ON z.id = r.session;
PRAGMA application_id = {APPLICATION};
PRAGMA user_version = {LAYOUT};
"""


@dataclass(frozen=True)
class Row:
    """Holds the ledger's row of a task; attempts are added to those of an earlier row."""

    stage: str
    number: int
    state: State
    fingerprint: str
    seconds: float
    worker: str
    peak_memory: int
    voxels: int = 0
    counts: Mapping[str, int] | None = None
    checksum: int | None = None
    error: str | None = None
    attempts: int = 1


@dataclass(frozen=True)
class Summary:
    """Sums up a stage as the ledger knows it: tasks, seconds of all that are done, bytes of the largest."""

    name: str
    tasks: int
    done: int
    empty: int
    masked: int
    failed: int
    aside: int
    attempts: int
    seconds: float
    peak_memory: int
    voxels: int

    @property
    def settled(self) -> int:
        """Counts the tasks with nothing left to do."""
        return self.done + self.empty + self.masked

    @property
    def left(self) -> int:
        """Counts the tasks that are to be done, those to be tried again included."""
        return self.tasks - self.settled - self.aside
