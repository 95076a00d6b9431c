"""The ledger: done means done with this fingerprint, attempts add up, and a row takes little room."""

from __future__ import annotations

import sqlite3
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from petavox.pipeline.errors import LockError, RequestError, StorageError
from petavox.workflows.run_directory import ledger as ledgers
from petavox.workflows.run_directory.ledger import Ledger
from petavox.workflows.run_directory.ledger_schema import STATES, Row


@pytest.fixture
def ledger(tmp_path):
    with Ledger(tmp_path / "ledger.sqlite") as opened:
        opened.begin()
        yield opened


def row(number, state="done", fingerprint="old", **more):
    return Row("relabel", number, state, fingerprint, seconds=1.5, worker="here:1", peak_memory=100, **more)


def numbers(ledger, fingerprint="old"):
    return np.flatnonzero(ledger.done("relabel", 10, fingerprint)).tolist()


def test_done_empty_and_masked_tasks_have_nothing_left_to_do_and_others_have(ledger):
    ledger.adopt([("relabel", 10, "old", {})])
    ledger.record([row(number, state) for number, state in enumerate(STATES)])
    assert numbers(ledger) == [0, 1, 2]
    (summary,) = ledger.summaries()
    assert [getattr(summary, state) for state in STATES] == [1] * len(STATES)
    assert (summary.settled, summary.left) == (3, 6), "what failed once is tried again; what is set aside is not"


@settings(max_examples=30)
@given(st.lists(st.tuples(st.integers(0, 9), st.sampled_from(STATES), st.integers(0, 2**64 - 1)), max_size=30))
def test_the_last_row_of_a_task_is_the_one_that_counts_and_checksums_come_back(tmp_path_factory, written):
    with Ledger(tmp_path_factory.mktemp("run") / "ledger.sqlite") as ledger:
        ledger.record([row(number, state, checksum=checksum) for number, state, checksum in written])
        last = {number: (state, checksum) for number, state, checksum in written}
        done = {number: checksum for number, (state, checksum) in last.items() if state in STATES[:3]}
        assert numbers(ledger) == sorted(done)
        assert ledger.checksums("relabel", 10, "old").tolist() == [done.get(number, 0) for number in range(10)]


def test_done_means_done_with_this_fingerprint(ledger):
    ledger.record([row(1), row(2, fingerprint="new")])
    assert numbers(ledger, "new") == [2]


def test_a_new_fingerprint_forgets_what_was_done_with_another_at_once(ledger):
    ledger.record([row(1), row(2)])
    ledger.adopt([("relabel", 10, "new", {})])
    ledger.adopt([("relabel", 10, "old", {})])
    assert numbers(ledger) == [], "what the new fingerprint wrote over must not count for the old one again"


def test_attempts_add_up_and_the_last_state_counts(ledger):
    ledger.adopt([("relabel", 10, "old", {})])
    ledger.record([row(3, "failed", error="first\ntrace")])
    assert ledger.failures() == [("relabel", 3, 1, "first\ntrace")]
    ledger.record([row(3, counts={"segments": 4}, voxels=9)])
    (summary,) = ledger.summaries()
    assert (summary.done, summary.failed, summary.attempts, summary.voxels) == (1, 0, 2, 9)
    assert ledger.failures() == []


def test_counts_of_tasks_add_up(ledger):
    ledger.record([row(1, counts={"merges": 2, "dust": 1}), row(2, counts={"merges": 5}), row(3)])
    assert ledger.counts("relabel") == {"merges": 7, "dust": 1}
    seen = ledger._db.execute("SELECT number, state, seconds, worker, counts FROM tasks ORDER BY number").fetchall()
    rest = ("done", 1.5, "here:1")
    assert seen == [(1, *rest, '{"merges":2,"dust":1}'), (2, *rest, '{"merges":5}'), (3, *rest, "{}")]


def test_what_is_recorded_is_there_for_a_reader_beside_the_driver(ledger):
    ledger.adopt([("relabel", 10, "old", {})])
    ledger.record([row(1)])
    with Ledger(ledger.path, readonly=True) as reader:
        assert reader.summaries()[0].done == 1


def test_rows_are_written_all_or_none(ledger):
    def rows():
        yield row(1)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ledger.record(rows())
    assert numbers(ledger) == []
    ledger.record([row(2)])
    assert numbers(ledger) == [2]


def test_a_full_disk_is_a_storage_error_with_the_cure(ledger):
    ledger._db.execute("PRAGMA max_page_count = 1")
    with pytest.raises(StorageError, match=r"full.*Free some space"):
        ledger.record(row(n, error="x" * 5000) for n in range(1000))


def test_something_else_under_its_name_is_refused(tmp_path):
    (tmp_path / "ledger.sqlite").write_text("no database at all, but long enough to be looked at" * 100)
    with pytest.raises(RequestError, match="no readable ledger"):
        Ledger(tmp_path / "ledger.sqlite")
    with pytest.raises(RequestError, match="no readable ledger"):
        Ledger(tmp_path / "nowhere.sqlite", readonly=True)


def test_the_time_of_a_driver_that_was_killed_ends_with_its_last_task(ledger):
    ledger.record([row(1)])
    ledger._db.execute("UPDATE rows SET ended = 2500")
    assert ledger.seconds() == 2.5
    with Ledger(ledger.path) as again:
        again.begin()
        again.end(0)
        assert 2.5 <= again.seconds() < 60


def test_a_clock_that_jumps_changes_no_duration(ledger, monkeypatch):
    monkeypatch.setattr(ledgers.time, "time", lambda: -1e9)
    ledger.record([row(1)])
    ledger.end(0)
    assert 0 <= ledger.seconds() < 60


def test_every_failed_attempt_is_kept_with_its_reason(ledger):
    ledger.adopt([("relabel", 10, "old", {})])
    ledger.record([row(3, "failed", error="first"), row(3, "aside", error="second\ntrace")])
    assert ledger.failures() == [("relabel", 3, 2, "second\ntrace")]
    ledger.record([row(3)])
    assert ledger.failures() == []
    assert [error for (error,) in ledger._db.execute("SELECT error FROM failures")] == ["first", "second\ntrace"]


def test_a_driver_that_may_not_write_any_more_writes_nothing(tmp_path):
    def refuse():
        if lost:
            raise LockError("lost")

    lost = []
    with Ledger(tmp_path / "ledger.sqlite", check=refuse) as ledger:
        ledger.record([row(1)])
        lost.append(True)
        writes = (
            lambda: ledger.record([row(2)]),
            ledger.begin,
            lambda: ledger.end(0),
            lambda: ledger.forget("relabel"),
        )
        for write in writes:
            with pytest.raises(LockError):
                write()
        assert numbers(ledger) == [1]


def test_names_that_were_met_in_a_transaction_that_failed_are_met_again(ledger):
    def rows():
        yield row(1, counts={"merges": 1})
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ledger.record(rows())
    ledger.record([row(1, counts={"merges": 2})])
    assert ledger.counts("relabel") == {"merges": 2}
    with Ledger(ledger.path, readonly=True) as reader:
        assert reader.counts("relabel") == {"merges": 2}


def test_a_ledger_of_another_layout_is_refused(tmp_path):
    with sqlite3.connect(tmp_path / "ledger.sqlite") as db:
        db.execute("CREATE TABLE stages (name TEXT PRIMARY KEY)")
    db.close()
    for readonly in (False, True):
        with pytest.raises(RequestError, match=r"have layout 2 .* has 0\. Continue the run with the version"):
            Ledger(tmp_path / "ledger.sqlite", readonly=readonly)


@pytest.mark.parametrize("word", ["a", "long name" * 20])
def test_a_row_takes_no_more_room_for_long_names(tmp_path, word):
    with Ledger(tmp_path / "ledger.sqlite") as ledger:
        counts = {word * 3: 70_000, word: 1000, "table_bytes": 100_000}
        ledger.record(
            Row("stage", n, "done", "f" * 32, 3.3, "n" * 60, 2**30, 2**24, counts, 2**63 + n) for n in range(20_000)
        )
    assert (tmp_path / "ledger.sqlite").stat().st_size < 100 * 20_000


WRITE_AND_DIE = """
import os, sys
from pathlib import Path
from petavox.workflows.run_directory import ledger
from petavox.workflows.run_directory.ledger_schema import Row
from petavox.workflows.run_directory.ledger import Ledger
ledger.is_local = lambda folder: False
opened = Ledger(Path(sys.argv[1]))
opened.begin()
opened.adopt([("relabel", 10, "old", {})])
for number in range(5):
    opened.record([Row("relabel", number, "done", "old", 1.0, "here", 1)])
os.kill(os.getpid(), 9)
"""


def test_on_a_shared_disk_what_a_killed_driver_had_recorded_is_there_without_shared_memory(tmp_path, monkeypatch):
    path = tmp_path / "ledger.sqlite"
    done = subprocess.run([sys.executable, "-P", "-c", WRITE_AND_DIE, str(path)], check=False)
    assert done.returncode == -9
    files = sorted(file.name for file in tmp_path.iterdir())
    assert files == ["ledger.sqlite", "ledger.sqlite-wal"], "no memory is shared between machines"
    monkeypatch.setattr(ledgers, "is_local", lambda folder: False)
    with Ledger(path, readonly=True) as reader:
        assert reader.summaries()[0].done == 5
    with Ledger(path) as ledger:
        assert numbers(ledger) == [0, 1, 2, 3, 4]
        ledger.record([row(7)])
    with Ledger(path, readonly=True) as reader:
        assert reader.summaries()[0].done == 6
