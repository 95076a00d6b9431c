"""Whatever befalls a file, it is read as an independent reader reads it, or refused: no other error, no endless wait.

200 inputs are tried, or as many as PETAVOX_FUZZ says; from another one on if PETAVOX_FUZZ_FROM says so. One that fails
is tried again by its number: `PETAVOX_FUZZ=1 PETAVOX_FUZZ_FROM=12345`.
"""

import os

import pytest
from fakes.fuzz import check
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

INPUTS, FIRST = int(os.environ.get("PETAVOX_FUZZ", "200")), int(os.environ.get("PETAVOX_FUZZ_FROM", "0"))


@pytest.mark.parametrize("first", range(FIRST, FIRST + INPUTS, 100))
def test_a_file_is_read_as_others_read_it_or_refused(first):
    answers = [check(number) for number in range(first, min(first + 100, FIRST + INPUTS))]
    assert set(answers) <= {"read", "refused", "unjudged"}
    assert answers.count("unjudged") <= 5


@settings(max_examples=50, derandomize=True, suppress_health_check=list(HealthCheck))
@given(st.integers(2**32, 2**40))
def test_so_it_is_with_any_other_input(number):
    assert check(number) in ("read", "refused", "unjudged")
