"""Sizes and durations are read with their unit, and shown as people read them."""

from __future__ import annotations

import pytest

from petavox.cluster.quantities import duration, in_bytes, in_time, parse_bytes


@pytest.mark.parametrize(("text", "count"), [("2.5GB", 2_500_000_000), ("800 MiB", 800 * 2**20), ("1TB", 10**12)])
def test_sizes_are_read_with_their_unit(text, count):
    assert parse_bytes(text) == count


@pytest.mark.parametrize("text", ["", "5", "GB", "-1GB", "0MB", "1e400GB", "5 gigs"])
def test_sizes_without_number_or_unit_are_refused(text):
    with pytest.raises(ValueError, match="must be a size"):
        parse_bytes(text)


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0.0 s"), (59.94, "59.9 s"), (61, "1 min 1 s"), (3600, "1 h 0 min"), (7322, "2 h 2 min")]
)
def test_durations_read_well(seconds, text):
    assert duration(seconds) == text


def test_bytes_read_well():
    assert [in_bytes(count) for count in (999, 12_000_000, 2_460_000_000)] == ["999 B", "12 MB", "2.46 GB"]


@pytest.mark.parametrize(
    ("seconds", "text"), [(12, "12 s"), (210, "3.5 min"), (29_700, "8.25 h"), (41 * 86_400, "41 days")]
)
def test_estimated_times_are_rounded(seconds, text):
    assert in_time(seconds) == text
