"""Sections are in the order of the one number that differs in their names; what is no such order is refused."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from petavox.pipeline.errors import VolumeError
from petavox.workflows.conversion.section_names import order_of


def in_order(names):
    return [names[i] for i in order_of(names, "DIR").indices]


SERIES = {
    "padded": [f"sec_{n:04d}" for n in range(12)],
    "not padded": [f"section_{n}" for n in range(12)],
    "padded now and then": [f"{n:0{1 + n % 3}d}" for n in range(12)],
    "in capitals now and then": [f"{'Sec' if n % 3 else 'sec'}_{n}" for n in range(12)],
    "decimals of any length": [f"z={n * 0.025:g}um" for n in range(12)],
    "decimals of one length": [f"z_{n * 0.05:.2f}" for n in range(30)],
    "rounded decimals": [f"z_{n * 0.025:.2f}" for n in range(30)],
    "decimals with a comma": [f"z={n * 0.025:g}um".replace(".", ",") for n in range(12)],
    "powers of ten": [f"z={n * 1e-5:g}" for n in range(12)],
    "versions": [f"1.{n}" for n in range(1, 13)],
    "signs": [f"z={n:+d}" for n in range(-6, 6)],
    "signs below 0 alone": [f"z{n}" for n in range(-6, 6)],
    "all below 0": [f"z={n}um" for n in range(-12, 0)],
    "decimals with signs": [f"z={n * 0.5:g}" for n in range(-6, 6)],
    "hyphens": [f"stack-{n}" for n in range(12)],
    "long numbers": [f"{10**25 + n}" for n in range(12)],
    "other numbers that stay": [f"2024-05-01_s{n}_of_12" for n in range(12)],
    "other numbers that vary": [f"img_{n:03d}_{(n * 7) % 5}" for n in range(12)],
    "times that vary": [f"img_{n:03d}_{120000 + n * n * 3}" for n in range(12)],
}


@pytest.mark.parametrize("kind", SERIES)
def test_numbers_of_any_kind_give_the_order(kind):
    names = SERIES[kind]
    shuffled = random.Random(0).sample(names, len(names))
    assert in_order(shuffled) == names


@given(
    st.lists(st.integers(0, 10**9), min_size=1, max_size=30, unique=True),
    st.sampled_from(["z{}", "z{:09d}", "em_{}_x", "{}", "a1_{}", "s-{}"]),
)
def test_consecutive_numbers_are_always_found(starts, template):
    first = starts[0]
    names = [template.format(first + n) for n in range(len(starts))]
    assert in_order(random.Random(1).sample(names, len(names))) == names


REFUSED = {
    "a missing section": ([f"s{n}" for n in range(12) if n != 5], r"missing.*between s4 and s6 \(5\)"),
    "a missing decimal": ([f"z={n * 0.025:g}" for n in range(12) if n != 5], r"missing.*between z=0\.1 and z=0\.15"),
    "many missing sections": ([f"s{n}" for n in range(40) if n % 3], r"between s2 and s4 \(3\)"),
    "a number twice": (["s1", "s2", "s02", "s3"], "s2 and s02 have the same"),
    "two series": ([f"{kind}_{n}" for kind in ("raw", "mask") for n in range(5)], r"2: mask_\* \(5\), raw_\* \(5\)"),
    "tiles": ([f"s{n}_r{r}" for n in range(4) for r in range(2)], "tiles, channels or parts"),
    "no numbers": (["a", "b", "c"], "has 3"),
}  # fmt: skip


@pytest.mark.parametrize("kind", REFUSED)
def test_what_is_no_single_series_is_refused_with_a_way_on(kind):
    names, words = REFUSED[kind]
    with pytest.raises(VolumeError, match=f"{words}.*--in-order"):
        order_of(names, "DIR")


def test_numbers_that_count_something_else_are_mentioned():
    assert "steps of 5" in order_of([f"s{n * 5}" for n in range(6)], "DIR").remark
    assert "unevenly" in order_of([f"t{n * n * 17 + n}" for n in range(9)], "DIR").remark
    assert order_of([f"s{n}" for n in range(9)], "DIR").remark == ""
