"""The ledger: done means done with this fingerprint, attempts add up, and nobody else writes meanwhile."""

from __future__ import annotations

import sqlite3
import subprocess
import sys

import numpy as np
import pytest

from petavox.pipeline.errors import RequestError, StorageError
from petavox.workflows.ledger import Ledger, Row, locked


@pytest.fixture
def ledger(tmp_path):
    with Ledger(tmp_path / "ledger.sqlite") as opened:
        opened.begin()
        yield opened


def row(number, state="done", fingerprint="old", **more):
    return Row("relabel", number, state, fingerprint, seconds=1.5, worker="here:1", peak_memory=100, **more)


def numbers(ledger, fingerprint="old"):
    return np.flatnonzero(ledger.done("relabel", 10, fingerprint)).tolist()


def test_done_and_empty_tasks_are_done_and_failed_ones_are_not(ledger):
    ledger.record([row(1), row(4, "empty"), row(7, "failed", error="why")])
    assert numbers(ledger) == [1, 4]


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
    connection = sqlite3.connect(ledger.path)
    (spent,) = connection.execute("SELECT MAX(t.ended) - MIN(s.started) FROM tasks t, sessions s").fetchone()
    connection.close()
    assert ledger.seconds() == pytest.approx(spent)


HOLD = """
import sys, time
from pathlib import Path
from petavox.workflows.ledger import locked
with locked(Path(sys.argv[1])):
    print("locked", flush=True)
    time.sleep(600)
"""


def test_a_second_driver_is_refused_until_the_first_is_gone_however_it_went(tmp_path):
    with subprocess.Popen(
        [sys.executable, "-P", "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout.readline() == "locked\n"
        with pytest.raises(RequestError, match=f"in use by process {holder.pid} on .*--run"), locked(tmp_path):
            pass
        holder.kill()
    with locked(tmp_path):
        pass
