"""Scores are compared exactly, whatever the size of their terms."""

from hypothesis import given
from hypothesis import strategies as st

from petavox.pipeline.agglomeration.contact_order import compare, product


@given(st.integers(0, 2**63 - 1), st.integers(0, 2**63 - 1))
def test_products_are_exact_in_128_bits(a, b):
    high, low = product(a, b)
    assert int(high) * 2**64 + int(low) == a * b


@given(*[st.integers(1, 2**63 - 1)] * 4)
def test_fractions_are_compared_exactly(a, b, c, d):
    assert compare(a, b, c, d) == (a * d > c * b) - (a * d < c * b)
