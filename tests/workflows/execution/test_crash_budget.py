"""A run goes on while few of its blocks fail, stops when many do, and names the commonest reason first."""

from __future__ import annotations

import contextlib
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from petavox.pipeline.errors import CrashBudgetError
from petavox.workflows.execution.crash_budget import LEAST, CrashBudget


@given(st.integers(1, 60), st.integers(0, 2000), st.decimals(0, 1, places=2))
def test_it_stops_at_the_share_and_not_before_ten(set_aside, done, share):
    stops = set_aside >= LEAST and set_aside / (set_aside + done) > float(share) + 1e-12
    expected = pytest.raises(CrashBudgetError) if stops else contextlib.nullcontext()
    with expected:
        CrashBudget(share).spend("a", "why", set_aside=set_aside, done=done)


def test_reasons_that_differ_in_numbers_are_one_and_the_commonest_comes_first():
    budget = CrashBudget(Decimal("0.05"))
    budget.spend("other", "KeyError: 'other'", set_aside=1, done=0)
    reasons = ["OSError: chunk 0 gone", *(f"ValueError: block {n} is bad" for n in range(8))]
    for count, reason in enumerate(reasons, 1):
        budget.spend("a", reason, set_aside=count, done=3)
    with pytest.raises(CrashBudgetError) as raised:
        budget.spend("a", "OSError: chunk 7 gone", set_aside=10, done=3)
    said = str(raised.value)
    assert "10 of the 13" in said
    assert "8 × ValueError: block 0 is bad; 2 × OSError: chunk 0 gone" in said
    assert "limits.crash_budget = 0.05" in said
    assert "other" not in said
