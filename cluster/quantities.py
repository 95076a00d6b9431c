"""Sizes and durations as people write them in recipes, and as they read them."""

from __future__ import annotations

import math
from typing import Annotated

from pydantic import AfterValidator


def parse_bytes(text: str) -> int:
    """Parses a number of bytes such as "2.5GB" or "800 MiB".

    Raises:
        ValueError: it is not a number with a unit.
    """
    units = {
        "KB": 10**3,
        "MB": 10**6,
        "GB": 10**9,
        "TB": 10**12,
        "KiB": 2**10,
        "MiB": 2**20,
        "GiB": 2**30,
        "TiB": 2**40,
    }
    number = text.rstrip("KMGTiB").strip()
    unit = text[len(text.rstrip("KMGTiB")) :]
    try:
        amount = int(float(number) * units[unit])
    except (ValueError, KeyError, OverflowError):
        amount = 0
    if amount <= 0:
        raise ValueError('must be a size such as "2.5GB" or "800MiB"')
    return amount


def parse_seconds(text: str) -> float:
    """Parses a number of seconds such as "90s", "15min", "2h" or "1.5d".

    Raises:
        ValueError: it is not a number with a unit.
    """
    number = text.rstrip("smindh")
    seconds = {"s": 1, "min": 60, "h": 3600, "d": 86400}.get(text[len(number) :], 0)
    try:
        duration = float(number) * seconds
    except ValueError:
        duration = 0.0
    if not 0 < duration < math.inf:
        raise ValueError('must be a duration such as "30min" or "2h"')
    return duration


def _size(text: str) -> str:
    parse_bytes(text)
    return text


def _duration(text: str) -> str:
    parse_seconds(text)
    return text


Size = Annotated[str, AfterValidator(_size)]
Duration = Annotated[str, AfterValidator(_duration)]


def in_bytes(count: float) -> str:
    """Writes a number of bytes for people: 2.5 GB."""
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} PB"


def duration(seconds: float) -> str:
    """Writes a duration for people: 1.2 s, 3 min 20 s, 5 h 2 min."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60:,} h {minutes % 60} min"


def in_time(seconds: float) -> str:
    """Writes a length of time for people: 12 s, 3.5 min, 8.25 h, 41 days."""
    for unit, length, most in (("s", 1, 100), ("min", 60, 100), ("h", 3600, 100), ("days", 86_400, 1000)):
        if seconds < most * length:
            return f"{seconds / length:.3g} {unit}"
    return f"{seconds / (365.25 * 86_400):.3g} years"
