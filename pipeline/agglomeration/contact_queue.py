"""The queue of contacts: bins by score, emptied from the best down.

Scores never rise, so only the contacts of one bin have to be in order. Each bin is a chain, `later` and `earlier` for
every contact. The bin that is being emptied is a binary heap of candidates (score as a double, contact, its score and
count when it was put in). A candidate whose contact's count has grown since is stale. Rounding is monotone, so a larger
double is a larger fraction; equal ones are compared exactly.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from .contact_order import COUNT, ranks_above, score_of

BINS = 256 * 256
_NONE = -1
NOT_IN_A_BIN = -2


@njit(nogil=True, cache=True)
def bin_of(row, levels):  # type: ignore[no-untyped-def]
    score, scale = score_of(row, levels)
    return np.int64(score / scale * 256)


@njit(nogil=True, cache=True)
def put(heads, later, earlier, e, place):  # type: ignore[no-untyped-def]
    first = heads[place]
    later[e], earlier[e] = first, _NONE
    if first != _NONE:
        earlier[first] = e
    heads[place] = e


@njit(nogil=True, cache=True)
def take_out(heads, later, earlier, e, place):  # type: ignore[no-untyped-def]
    if earlier[e] == NOT_IN_A_BIN:
        return
    if earlier[e] == _NONE:
        heads[place] = later[e]
    else:
        later[earlier[e]] = later[e]
    if later[e] != _NONE:
        earlier[later[e]] = earlier[e]
    earlier[e] = NOT_IN_A_BIN


@njit(nogil=True, cache=True)
def candidate(rows, e, levels):  # type: ignore[no-untyped-def]
    score, scale = score_of(rows[e], levels)
    return score / scale, np.int64(e), score, rows[e, COUNT]


@njit(nogil=True, cache=True)
def empty_bin(heads, later, earlier, place, rows, levels, heap):  # type: ignore[no-untyped-def]
    """Make the contacts of a bin the heap."""
    e = heads[place]
    while e != _NONE:
        heap.append(candidate(rows, e, levels))
        earlier[e] = NOT_IN_A_BIN
        e = later[e]
    heads[place] = _NONE
    for i in range(len(heap) // 2 - 1, -1, -1):
        _sift_down(heap, i, rows, levels)


@njit(nogil=True, cache=True)
def _sift_down(heap, i, rows, levels):  # type: ignore[no-untyped-def]
    n = len(heap)
    item = heap[i]
    while True:
        child = 2 * i + 1
        if child >= n:
            break
        if child + 1 < n and ranks_above(heap[child + 1], heap[child], rows, levels):
            child += 1
        if not ranks_above(heap[child], item, rows, levels):
            break
        heap[i] = heap[child]
        i = child
    heap[i] = item


@njit(nogil=True, cache=True)
def push(heap, item, rows, levels):  # type: ignore[no-untyped-def]
    heap.append(item)
    i = len(heap) - 1
    while i > 0:
        up = (i - 1) // 2
        if not ranks_above(item, heap[up], rows, levels):
            break
        heap[i] = heap[up]
        i = up
    heap[i] = item


@njit(nogil=True, cache=True)
def pop(heap, rows, levels):  # type: ignore[no-untyped-def]
    top = heap[0]
    last = heap.pop()
    if len(heap):
        heap[0] = last
        _sift_down(heap, 0, rows, levels)
    return top
