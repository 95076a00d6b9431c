"""The table of pairs: which labels touch, and the sums over the voxel edges between them, in compiled code.

Pairs are numbered as they are met, so that what lies close in space lies close in memory. Each label has a chain of its
pairs with smaller ones; what would make a chain longer than `_LONGEST` goes to a hash table that all labels share, so
that no search is long.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit

EDGE_BITS = 55
"""Canonical edge ids lie below 2**55, so that (affinity, edge id) fits an int64 and compares as one."""

_LONGEST = 24
_STRIP = 64  # rows: what the edges of a strip need stays in the cache


def empty_table(nodes: int, room: int, levels: int) -> tuple[npt.NDArray[Any], ...]:
    """Allocates chains, hash table, pairs, their sums and histograms by NumPy, which asks for huge pages."""
    heads = np.full(nodes + 1, -1, dtype=np.int32)
    following = np.empty(room, dtype=np.int32)
    slots = np.full(1 << 12, -1, dtype=np.int32)
    keys = np.empty(room, dtype=np.uint64)
    return heads, following, slots, keys, np.empty((room, 3), dtype=np.int64), np.empty((room, levels), dtype=np.uint32)


@njit(nogil=True, cache=True)
def _slot(slots, keys, key):  # type: ignore[no-untyped-def]
    """Where the number of a pair lies in the hash table, or the free place for it."""
    mask = np.uint64(slots.size - 1)
    place = ((key * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(20)) & mask
    while slots[place] >= 0 and keys[slots[place]] != key:
        place = (place + np.uint64(1)) & mask
    return place


@njit(nogil=True, cache=True)
def _rehashed(slots, keys):  # type: ignore[no-untyped-def]
    larger = np.full(2 * slots.size, -1, dtype=np.int32)
    for number in slots:
        if number >= 0:
            larger[_slot(larger, keys, keys[number])] = number
    return larger


@njit(nogil=True, cache=True)
def _number(heads, following, slots, keys, key, node, new):  # type: ignore[no-untyped-def]
    """The number of a pair, which becomes `new` if it has none yet, and how many entries the hash table gained."""
    found = heads[node]
    length = 0
    while found >= 0 and keys[found] != key:
        found = following[found]
        length += 1
    if found >= 0:
        return found, 0
    if length < _LONGEST:
        keys[new] = key
        following[new] = heads[node]
        heads[node] = new
        return new, 0
    place = _slot(slots, keys, key)
    if slots[place] >= 0:
        return slots[place], 0
    slots[place] = new
    keys[new] = key
    return new, 1


@njit(nogil=True, cache=True)
def _longer(array, size):  # type: ignore[no-untyped-def]
    result = np.empty((size, *array.shape[1:]), dtype=array.dtype)
    result[: array.shape[0]] = array
    return result


@njit(nogil=True, cache=True)
def _with_room(table, n, hashed, more):  # type: ignore[no-untyped-def]
    """The table, replaced by a longer one unless it has room for some more pairs."""
    heads, following, slots, keys, sums, histogram = table
    if n + more > keys.size:
        room = n + max(n // 2, more)
        following, keys = _longer(following, room), _longer(keys, room)
        sums, histogram = _longer(sums, room), _longer(histogram, room)
    while 2 * (hashed + more) > slots.size:
        slots = _rehashed(slots, keys)
    return heads, following, slots, keys, sums, histogram


@njit(nogil=True, cache=True)
def _mark(one, two, ordered, marks):  # type: ignore[no-untyped-def]
    """Mark the places where two different labels touch; a plain loop over bytes, so that it becomes vector code."""
    for x in range(one.size):
        marks[x] = (one[x] != 0) & (two[x] != 0) & (ordered | (one[x] != two[x]))
    marks[one.size :] = 0


@njit(nogil=True, cache=True)
def _add_row(table, n, hashed, one, two, row, edge, step, ordered, level_of, marks):  # type: ignore[no-untyped-def]
    """Adds the edges between two rows of labels, runs of equal pairs at a time, to a table.

    The table has n pairs, some of them hashed; returns both numbers. Edge x of the row has the id edge + x · step.

    `marks` is scratch: a byte a voxel and at least one more, a multiple of eight.
    """
    heads, following, slots, keys, sums, histogram = table
    _mark(one, two, ordered, marks)
    eights = marks.view(np.uint64)
    x = 0
    while x < one.size:
        if marks[x] == 0:
            x += 1
            # Most places are unmarked: skip them eight at a time.
            while x % 8 == 0 and x < one.size and eights[x // 8] == 0:
                x += 8
            continue
        a, b, start = one[x], two[x], x
        total = np.int64(0)
        best, place = np.uint8(0), x
        while marks[x] and one[x] == a and two[x] == b:
            total += row[x]
            if row[x] >= best:
                best, place = row[x], x
            x += 1
        if a > b and not ordered:
            a, b = b, a
        key = (np.uint64(a) << np.uint64(32)) | np.uint64(b)
        number, more = _number(heads, following, slots, keys, key, b, n)
        if number == n:
            n += 1
            hashed += more
            sums[number] = 0
            histogram[number] = 0
        sums[number, 0] += total
        sums[number, 1] += x - start
        sums[number, 2] = max(sums[number, 2], (np.int64(best) << EDGE_BITS) | (edge + step * place))
        if histogram.shape[1]:
            for i in range(start, x):
                histogram[number, level_of[row[i]]] += np.uint32(1)
    return n, hashed


@njit(nogil=True, cache=True)
def _scratch(length):  # type: ignore[no-untyped-def]
    return np.zeros((length // 8 + 1) * 8, dtype=np.uint8)


@njit(nogil=True, cache=True)
def add_interior(table, labels, affinities, origin, volume, level_of):  # type: ignore[no-untyped-def]
    nz, ny, nx = labels.shape
    n, hashed = 0, 0
    marks = _scratch(nx)
    # One axis after the other within a strip: interleaved, the runs of equal pairs fall out of the cache.
    for strip in range(0, ny, _STRIP):
        for axis in range(3):
            for z in range(1 if axis == 0 else 0, nz):
                for y in range(max(strip, 1) if axis == 1 else strip, min(strip + _STRIP, ny)):
                    edge = 3 * (((z + origin[0]) * volume[1] + y + origin[1]) * volume[2] + origin[2]) + axis
                    one, two, row = labels[z, y], labels[z, y], affinities[axis, z, y]
                    if axis == 0:
                        one = labels[z - 1, y]
                    elif axis == 1:
                        one = labels[z, y - 1]
                    else:
                        one, two, row, edge = one[: nx - 1], two[1:], row[1:], edge + 3
                    table = _with_room(table, n, hashed, nx)
                    n, hashed = _add_row(table, n, hashed, one, two, row, edge, 3, False, level_of, marks)
    return table[3], table[4], table[5], n


@njit(nogil=True, cache=True)
def add_face(table, before, behind, affinities, origin, rows, columns, axis, level_of):  # type: ignore[no-untyped-def]
    height, width = before.shape
    n, hashed = 0, 0
    marks = _scratch(width)
    for i in range(height):
        edge = 3 * (origin + i * rows) + axis
        table = _with_room(table, n, hashed, width)
        n, hashed = _add_row(
            table, n, hashed, before[i], behind[i], affinities[i], edge, 3 * columns, True, level_of, marks
        )
    return table[3], table[4], table[5], n


@njit(nogil=True, cache=True)
def fill_columns(pairs, sums, columns):  # type: ignore[no-untyped-def]
    """Turns pairs of labels and their sums into a, b, sum, count, best."""
    for i in range(columns.shape[1]):
        columns[0, i] = np.int64(pairs[i] >> np.uint64(32)) - 1
        columns[1, i] = np.int64(pairs[i] & np.uint64(0xFFFFFFFF)) - 1
        columns[2, i], columns[3, i], columns[4, i] = sums[i, 0], sums[i, 1], sums[i, 2]
