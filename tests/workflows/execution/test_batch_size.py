"""Calls grow towards a second from what was measured, and never leave a worker without one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from petavox.workflows.execution.batch_size import CALL_SECONDS, GROWTH, LARGEST_CALL, Pace

measurements = st.lists(st.tuples(st.integers(1, LARGEST_CALL), st.floats(0, 1e4)), max_size=5)


@given(measurements, st.integers(0, 10**9), st.integers(0, 10**4))
def test_a_call_has_a_task_and_leaves_enough_for_the_other_workers(measured, left, workers):
    pace, largest = Pace(), 1
    assert pace.size(left, workers) == 1, "nothing is known yet"
    for tasks, seconds in measured:
        pace.measured(tasks, seconds)
        largest = max(largest, tasks)
    size = pace.size(left, workers)
    assert 1 <= size <= min(LARGEST_CALL, GROWTH * largest)
    assert size == 1 or size * workers <= left


@pytest.mark.parametrize("seconds", [0.003, 0.02, 0.3, 0.9, 40.0])
def test_calls_come_to_take_a_second_or_one_task(seconds):
    pace = Pace()
    for _ in range(5):
        size = pace.size(10**6, 2)
        pace.measured(size, size * seconds)
    size = pace.size(10**6, 2)
    assert size == 1 or CALL_SECONDS - seconds <= size * seconds <= CALL_SECONDS + 1e-9
