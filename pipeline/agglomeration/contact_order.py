"""Ranks contacts exactly: scores are fractions of integers; eligibility and the order of ties are defined here.

A contact is a row of int64: its two ends as one number, sum, count, best edge, and with quantiles its score in grey
levels; so that looking at one touches one cache line. A contact that is gone has ends that no contact has.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from ..thresholds import SCALE

ENDS, SUM, COUNT, BEST, QUANTILE = range(5)
GONE = -1
NORMAL, SMALL, SMALL_SIZE, VETO, VETO_SIZE, ANY_SIZES = range(6)
"""Where a rule's limits stand in `MergeRule.limits()`; a score of `ANY_SIZES` is eligible whatever the sizes."""


@njit(nogil=True, cache=True)
def product(a, b):  # type: ignore[no-untyped-def]
    """Returns high and low half of a 128-bit product."""
    low32 = np.uint64(0xFFFFFFFF)
    half = np.uint64(32)
    a, b = np.uint64(a), np.uint64(b)
    a0, a1, b0, b1 = a & low32, a >> half, b & low32, b >> half
    cross = a1 * b0 + (a0 * b0 >> half)
    middle = (cross & low32) + a0 * b1
    return a1 * b1 + (cross >> half) + (middle >> half), a * b


@njit(nogil=True, cache=True)
def compare(sum1, count1, sum2, count2):  # type: ignore[no-untyped-def]
    """Returns sign of sum1 / count1 − sum2 / count2, exact for any 64-bit integers."""
    high1, low1 = product(sum1, count2)
    high2, low2 = product(sum2, count1)
    if high1 != high2:
        return 1 if high1 > high2 else -1
    if low1 != low2:
        return 1 if low1 > low2 else -1
    return 0


@njit(nogil=True, cache=True)
def eligible(score, scale, size1, size2, limits):  # type: ignore[no-untyped-def]
    """Tells whether two clusters may merge. An eligible contact stays so for higher scores and for smaller sizes."""
    smaller, limit = min(size1, size2), limits[NORMAL]
    if smaller < limits[SMALL_SIZE]:
        limit = min(limit, limits[SMALL])
    if 0 < limits[VETO_SIZE] < smaller:
        limit = max(limit, limits[VETO])
    return compare(score, scale, limit, SCALE) >= 0


@njit(nogil=True, cache=True)
def quantile_level(histogram, count, quantile):  # type: ignore[no-untyped-def]
    """Returns the smallest level that at least this many millionths of the edges do not exceed."""
    below = np.int64(0)
    for level in range(histogram.size):
        below += histogram[level]
        if compare(below, count, quantile, SCALE) >= 0:
            return level
    return histogram.size - 1


@njit(nogil=True, cache=True)
def ends_of(u, v):  # type: ignore[no-untyped-def]
    return (np.int64(min(u, v)) << 32) | np.int64(max(u, v))


@njit(nogil=True, cache=True)
def end_beyond(ends, node):  # type: ignore[no-untyped-def]
    first, second = ends >> 32, ends & 0xFFFFFFFF
    return second if first == node else first


@njit(nogil=True, cache=True)
def fill_rows(rows, a, b, total, count, best, histogram, quantile):  # type: ignore[no-untyped-def]
    for e in range(a.size):
        rows[e, ENDS] = ends_of(a[e], b[e])
        rows[e, SUM], rows[e, COUNT], rows[e, BEST] = total[e], count[e], best[e]
        if quantile >= 0:
            rows[e, QUANTILE] = 255 * quantile_level(histogram[e], count[e], quantile)


@njit(nogil=True, cache=True)
def score_of(row, levels):  # type: ignore[no-untyped-def]
    """Returns the score as a fraction: a mean, or with levels a quantile."""
    if levels:
        return row[QUANTILE], np.int64(levels - 1)
    return row[SUM], row[COUNT]


@njit(nogil=True, cache=True)
def may_merge(row, levels, sizes, limits):  # type: ignore[no-untyped-def]
    score, scale = score_of(row, levels)
    return eligible(score, scale, sizes[row[ENDS] >> 32], sizes[row[ENDS] & 0xFFFFFFFF], limits)


@njit(nogil=True, cache=True)
def ranks_above(one, two, rows, levels):  # type: ignore[no-untyped-def]
    if one[0] != two[0]:
        return one[0] > two[0]
    if not levels:
        order = compare(one[2], one[3], two[2], two[3])
        if order != 0:
            return order > 0
    if one[3] != two[3]:
        return one[3] < two[3]
    return rows[one[1], BEST] > rows[two[1], BEST]
