"""Chance without state: numbers that depend only on a seed and on integers such as a lattice position."""

from __future__ import annotations

import numpy as np
from numba import njit

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_FIRST = np.uint64(0xBF58476D1CE4E5B9)
_SECOND = np.uint64(0x94D049BB133111EB)
_S27, _S30, _S31 = np.uint64(27), np.uint64(30), np.uint64(31)
_S11, _S21, _S43 = np.uint64(11), np.uint64(21), np.uint64(43)
_LOW21 = np.uint64((1 << 21) - 1)


@njit("uint64(uint64, int64)", cache=True, nogil=True)
def mix(key: np.uint64, number: int) -> np.uint64:
    """Returns a 64-bit hash of a hash and one more integer (splitmix64; Steele et al., OOPSLA 2014)."""
    h = (key ^ np.uint64(number)) + _GOLDEN
    h = (h ^ (h >> _S30)) * _FIRST
    h = (h ^ (h >> _S27)) * _SECOND
    return h ^ (h >> _S31)


@njit("float64(uint64, int64)", cache=True, nogil=True)
def uniform(key: np.uint64, stream: int) -> float:
    """Returns the number of [0, 1) that a hash holds in one of its streams."""
    return float(mix(key, stream) >> _S11) * 2.0**-53


@njit("UniTuple(float64, 3)(uint64)", cache=True, nogil=True)
def signed_thirds(h: np.uint64) -> tuple[float, float, float]:
    """Returns three numbers of [−1, 1) from three disjoint groups of 21 bits of one hash."""
    scale = 2.0**-20
    return (
        float(h & _LOW21) * scale - 1.0,
        float((h >> _S21) & _LOW21) * scale - 1.0,
        float(h >> _S43) * scale - 1.0,
    )
