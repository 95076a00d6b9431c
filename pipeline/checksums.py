"""Checksums of arrays as they are before they are encoded: CRC-32C, a hundredth of the time of writing them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import google_crc32c
import numpy as np
import numpy.typing as npt

BITS = 32


def of_array(values: npt.NDArray[Any], begun: int = 0) -> int:
    """Returns the checksum of an array's values in C order, or of all that came before followed by them."""
    checksum: int = google_crc32c.extend(begun, np.ascontiguousarray(values))
    return checksum


def of_columns(columns: Iterable[tuple[str, npt.NDArray[Any]]]) -> int:
    """Returns the checksum of named arrays in their order: names, types, lengths and values."""
    checksum = 0
    for name, values in columns:
        heading = f"{name} {values.dtype.str} {values.shape};".encode()
        checksum = of_array(values, google_crc32c.extend(checksum, heading))
    return checksum


def packed(checksums: Sequence[int]) -> int:
    """Returns up to two checksums in one number of 64 bits, the first one lowest."""
    return sum(checksum << (BITS * place) for place, checksum in enumerate(checksums))


def unpacked(number: int, count: int) -> tuple[int, ...]:
    """Returns the checksums that `packed` has put into a number."""
    return tuple(number >> (BITS * place) & (2**BITS - 1) for place in range(count))
