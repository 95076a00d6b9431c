"""A long task tells how far it is: its worker writes that beside the run, and the driver adds it up."""

from __future__ import annotations

import pytest

from petavox.tasks import fraction
from petavox.workflows.execution import parts
from petavox.workflows.execution.parts import EVERY, WATCHED, Part, Parts


@pytest.fixture
def clock(monkeypatch):
    """The time, which a test sets."""
    now = [1000.0]
    monkeypatch.setattr(parts.time, "monotonic", lambda: now[0])
    return now


def test_only_calls_that_take_long_are_heard_of_and_only_every_so_often(clock, tmp_path):
    read = Parts(tmp_path)
    part = Part(read.path(7))
    part.tell(0.1)
    assert read.of({7: "predict"}) == {}
    clock[0] += EVERY
    part.tell(0.25)
    part.tell(0.5)
    assert read.of({7: "predict"}) == {"predict": 0.25}
    part.close()
    assert list(tmp_path.iterdir()) == []


def test_calls_of_a_stage_add_up_and_of_too_many_some_stand_for_all(tmp_path):
    read = Parts(tmp_path)
    for call in range(2 * WATCHED):
        (tmp_path / f"{call}.part").write_text("0.5")
    (tmp_path / "3.part").write_text("half a li")
    assert read.of({1: "a", 2: "a", 3: "a", 4: "b"}) == {"a": 1.0, "b": 0.5}
    assert read.of(dict.fromkeys(range(100, 100 + 2 * WATCHED), "a"))["a"] < WATCHED
    assert read.of({}) == {}


def test_without_a_folder_nothing_is_written_or_read(clock):
    read = Parts(None)
    part = Part(read.path(1))
    clock[0] += EVERY
    part.tell(0.5)
    part.close()
    assert read.of({1: "a"}) == {}


def test_a_task_tells_whoever_runs_it_and_nobody_else():
    heard = []
    fraction.tell(0.1)
    with fraction.told_to(heard.append):
        fraction.tell(0.5)
    fraction.tell(0.9)
    assert heard == [0.5]
