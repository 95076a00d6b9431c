"""Sizes and durations as people write them in recipes, and as SLURM does."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator

_UNITS = {
    "KB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
    "TB": 10**12,
    "KiB": 2**10,
    "MiB": 2**20,
    "GiB": 2**30,
    "TiB": 2**40,
}


def parse_bytes(text: str) -> int:
    """Bytes from "2.5GB" or "800 MiB".

    Raises:
        ValueError: it is not a number with a unit.
    """
    number = text.rstrip("KMGTiB").strip()
    unit = text[len(text.rstrip("KMGTiB")) :]
    try:
        amount = int(float(number) * _UNITS[unit])
    except (ValueError, KeyError, OverflowError):
        amount = 0
    if amount <= 0:
        raise ValueError('must be a size such as "2.5GB" or "800MiB"')
    return amount


def parse_duration(text: str) -> int:
    """Seconds from "04:00:00" or "2-12:00:00", days first.

    Raises:
        ValueError: it is neither.
    """
    found = re.fullmatch(r"(?:(\d+)-)?(\d{1,3}):([0-5]\d):([0-5]\d)", text)
    if not found:
        raise ValueError('must be a duration such as "04:00:00" or "2-12:00:00", in hours, minutes and seconds')
    days, hours, minutes, seconds = (int(part or 0) for part in found.groups())
    return ((days * 24 + hours) * 60 + minutes) * 60 + seconds


def _size(text: str) -> str:
    parse_bytes(text)
    return text


def _duration(text: str) -> str:
    parse_duration(text)
    return text


Size = Annotated[str, AfterValidator(_size)]
Duration = Annotated[str, AfterValidator(_duration)]
