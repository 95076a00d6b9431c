"""Waiting is no training: it counts neither for the budget nor for the pace."""

import pytest

from petavox.pipeline.affinities import training_clock
from petavox.pipeline.affinities.training_clock import TrainingClock


@pytest.fixture
def at(monkeypatch):
    """Sets the time."""
    now = [100.0]
    monkeypatch.setattr(training_clock.time, "perf_counter", lambda: now[0])
    return lambda seconds: now.__setitem__(0, 100.0 + seconds)


def test_what_was_trained_before_counts_and_what_was_waited_does_not(at):
    clock = TrainingClock(50.0)
    at(10.0)
    assert clock.seconds() == 60.0
    assert clock.lap() == 10.0
    at(30.0)
    clock.waited(15.0)
    assert clock.seconds() == 65.0
    assert clock.lap() == 5.0


def test_a_state_is_due_by_the_clock_on_the_wall(at):
    clock = TrainingClock(0.0)
    at(59.0)
    clock.waited(30.0)
    assert not clock.is_due(1.0)
    at(60.0)
    assert clock.is_due(1.0)
    assert not clock.is_due(None)
    clock.saved()
    assert not clock.is_due(1.0)
