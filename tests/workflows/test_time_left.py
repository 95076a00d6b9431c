"""The time that a run has left comes from the plan at first, and then from what its stages have done."""

from __future__ import annotations

import pytest

from petavox.workflows import time_left
from petavox.workflows.time_left import Outlook, TimeLeft

STAGES = [("predict", 10, 0), ("supervoxels", 10, 5), ("relabel", 10, 0)]
PLAN = Outlook(
    seconds={"predict": 100.0, "supervoxels": 20.0, "relabel": 10.0},
    needs={"supervoxels": ("predict",), "relabel": ("supervoxels",)},
)


@pytest.fixture
def clock(monkeypatch):
    """The time, which a test sets."""
    now = [1000.0]
    monkeypatch.setattr(time_left.time, "monotonic", lambda: now[0])
    return now


def test_the_plan_is_the_first_guess_less_what_was_done_before(clock):
    assert TimeLeft(STAGES, PLAN).seconds() == 100.0 + 10.0 + 10.0


def test_a_stage_that_moves_is_estimated_by_its_own_pace(clock):
    left = TimeLeft(STAGES, PLAN)
    clock[0] += 60
    left.advance("predict", 2)
    assert left.seconds() == pytest.approx(8 * 30.0 + 10.0 + 10.0)
    assert left.elapsed == 60.0


def test_shares_of_tasks_under_way_count(clock):
    left = TimeLeft(STAGES, PLAN)
    clock[0] += 30
    left.working({"predict": 0.5})
    assert left.done("predict") == 0.5
    assert left.seconds() == pytest.approx(9.5 * 60.0 + 20.0)
    left.advance("predict", 1)
    left.working({})
    assert left.done("predict") == 1.0


def test_a_stage_that_has_just_begun_is_not_timed_from_the_start_of_the_run(clock):
    left = TimeLeft(STAGES, PLAN)
    clock[0] += 100
    left.advance("predict", 10)
    clock[0] += 3
    left.advance("supervoxels", 1)
    assert left.seconds() == pytest.approx(4 * 3.0 + 10.0)
    left.advance("supervoxels", 4)
    left.advance("relabel", 10)
    assert left.seconds() == 0.0


def test_without_a_plan_nothing_is_said_until_every_stage_has_moved(clock):
    left = TimeLeft(STAGES, Outlook())
    clock[0] += 10
    left.advance("predict", 10)
    assert left.seconds() is None


def test_a_stage_waits_for_the_first_that_it_needs_and_that_is_not_done(clock):
    left = TimeLeft(STAGES, PLAN)
    assert left.waits_for("predict") is None
    assert left.waits_for("relabel") == "supervoxels"
    left.advance("predict", 10)
    assert left.waits_for("supervoxels") is None
