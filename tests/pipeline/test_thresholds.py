"""Thresholds compare as the decimals that were written, not as the doubles nearest to them."""

from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from petavox.pipeline.errors import RequestError
from petavox.pipeline.thresholds import Threshold


@given(st.integers(0, 10**6), st.integers(0, 255))
def test_an_affinity_passes_exactly_when_it_reaches_the_decimal(millionths, affinity):
    threshold = Threshold.parse(Decimal(millionths) / 10**6)
    assert (affinity >= threshold.least_affinity) == (Fraction(affinity, 255) >= Fraction(millionths, 10**6))


@given(st.integers(0, 10**6))
def test_a_threshold_reads_back_what_it_prints(millionths):
    threshold = Threshold(millionths)
    assert Threshold.parse(str(threshold)) == threshold
    assert Threshold.parse(millionths / 10**6) == threshold


@pytest.mark.parametrize("value", [-0.1, 1.1, "0.1234567", "half", float("nan"), float("inf")])
def test_what_is_no_decimal_in_the_unit_interval_is_refused(value):
    with pytest.raises(RequestError, match=r"high must be a decimal in \[0, 1\]"):
        Threshold.parse(value, "high")
