"""Where the neurites run: tubes made of capsules, enumerated for any region of straight tissue space.

Straight tissue space (nm) has axes (t0, t1, n). It is cut across n into slabs of one thickness; the neurites of a slab
run in its plane, at the slab's own angle, side by side in square prisms: a quadtree over the slab's cross-section with
hashed splits gives the prisms their calibres. Each prism holds

- in even slabs, a trunk without end, or a row of spines that grow from the trunk of the neighbouring prism;
- in odd slabs, branches of finite length; many are attached by a bridge to a trunk of the slab above or below, which
  they cross, and carry its label.

Every capsule stays inside the prisms of its own neurite. So the tubes of two neurites never overlap and each neurite's
tubes form one connected set; `tissue` gives every point to the nearest tube, which keeps every neurite connected.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from .hashing import mix, uniform

LEVELS = 4  # sizes of prisms: slab, slab/2, slab/4, slab/8
FINEST = 1 << (LEVELS - 1)
BRANCH_PIECES = 9  # capsules in a branch of an odd slab, ends included

# Columns of a table of capsules: two ends, two radii, appearance, the mitochondrion inside (two ends and its radius).
P0, P1, R0, R1 = 0, 3, 6, 7
CYTOPLASM, SHEATH, VESICLES, CHANCE = 8, 9, 10, 11
M0, M1, MR = 12, 15, 18
COLUMNS = 19

_LABEL_BITS = np.uint64(11)  # labels keep 53 bits, which every JSON reader can hold


@njit(cache=True, nogil=True)
def _slab(seed: np.uint64, slab: int) -> tuple[np.uint64, float, float]:
    """A slab's key and the direction (cosine, sine) in which its neurites run; odd slabs cross even ones."""
    key = mix(mix(seed, 11), slab)
    if slab % 2 == 0:
        angle = math.radians(-38.0 + 76.0 * uniform(key, 1))
    else:
        angle = math.radians(42.0 + 46.0 * uniform(key, 1))
        if uniform(key, 2) < 0.5:
            angle = -angle
    return key, math.cos(angle), math.sin(angle)


@njit(cache=True, nogil=True)
def _leaf_level(key: np.uint64, column: int, i: int, j: int) -> int:
    """The level of the quadtree leaf that covers the finest square (i, j) of a slab's column."""
    fineness = uniform(mix(key, column), 3)
    for level in range(LEVELS - 1):
        shift = LEVELS - 1 - level
        square = mix(mix(mix(mix(key, column), level), i >> shift), j >> shift)
        stop = 0.22 if level == 0 else (0.18 + 0.3 * fineness if level == 1 else 0.3 + 0.5 * fineness)
        if uniform(square, 4) < stop:
            return level
    return LEVELS - 1


@njit(cache=True, nogil=True)
def _square(key: np.uint64, column: int, level: int, i: int, j: int) -> np.uint64:
    """The key of a leaf whose place at its level is (i, j)."""
    return np.uint64(mix(mix(mix(mix(mix(key, 5), column), level), i), j))


@njit(cache=True, nogil=True)
def _node(square: np.uint64, size: float, piece: int) -> tuple[float, float, float, float]:
    """A tube's point number `piece`: place along the slab's direction, offsets across (b, n), radius."""
    step = max(1.3 * size, 330.0)
    key = mix(mix(square, 6), piece)
    along = (piece + uniform(square, 7) + 0.3 * (uniform(key, 1) - 0.5)) * step
    radius = size * (0.14 + 0.24 * uniform(key, 2))
    room = 0.92 * (0.5 * size - radius)
    angle = 2.0 * math.pi * uniform(key, 3)
    distance = room * math.sqrt(uniform(key, 4))
    return along, distance * math.cos(angle), distance * math.sin(angle), radius


@njit(cache=True, nogil=True)
def _point_at(square: np.uint64, size: float, along: float) -> tuple[int, float, float]:
    """Where a trunk is at a place along its direction: the piece that begins before it, offsets across (b, n)."""
    step = max(1.3 * size, 330.0)
    piece = math.floor(along / step - uniform(square, 7))
    if _node(square, size, piece)[0] > along:
        piece -= 1
    elif _node(square, size, piece + 1)[0] <= along:
        piece += 1
    a0, b0, n0, _ = _node(square, size, piece)
    a1, b1, n1, _ = _node(square, size, piece + 1)
    t = (along - a0) / (a1 - a0)
    return piece, b0 + t * (b1 - b0), n0 + t * (n1 - n0)


@njit(cache=True, nogil=True)
def _label(key: np.uint64) -> np.uint64:
    return np.uint64((mix(key, 8) >> _LABEL_BITS) | np.uint64(1))


@njit(cache=True, nogil=True)
def _is_spine_room(key: np.uint64, column: int, level: int, i: int, j: int) -> bool:
    """Tells whether a leaf of an even slab holds spines of the neighbour that shares its parent and its row."""
    if level == 0 or level == LEVELS - 1 or (i & 1) == 0:
        return False
    shift = LEVELS - 1 - level
    if _leaf_level(key, column, (i - 1) << shift, j << shift) != level:
        return False
    return bool(uniform(_square(key, column, level, i, j), 9) < 0.4)


@njit(cache=True, nogil=True)
def _dress(row: np.ndarray, square: np.uint64, neurite: np.uint64, size: float, piece: int, trunk: bool) -> None:
    """Give a capsule its looks: cytoplasm, myelin, vesicles, a mitochondrion. The ends and radii are there already."""
    own = mix(mix(square, 10), piece)
    row[CYTOPLASM] = 2.0 * uniform(neurite, 11) - 1.0
    row[SHEATH] = 0.0
    if trunk and size > 700.0 and uniform(neurite, 12) < 0.22:
        row[SHEATH] = 55.0 + 0.03 * size
    axon = uniform(neurite, 13) < 0.6
    row[VESICLES] = 0.55 + 0.4 * uniform(own, 2) if axon and size < 1000.0 and uniform(own, 1) < 0.4 else 0.0
    row[CHANCE] = uniform(own, 3)
    row[MR] = 0.0
    narrow = min(row[R0], row[R1])
    if narrow > 45.0 and uniform(own, 4) < 0.6:
        radius = min(narrow * (0.65 + 0.3 * uniform(own, 5)), 110.0 + 120.0 * uniform(own, 6))
        start, end = 0.1 + 0.2 * uniform(own, 7), 0.7 + 0.2 * uniform(own, 8)
        aside = 0.9 * (narrow - radius)
        angle = 2.0 * math.pi * uniform(own, 9)
        for d in range(3):
            way = row[P1 + d] - row[P0 + d]
            offset = aside * (math.cos(angle + 2.1 * d))
            row[M0 + d] = row[P0 + d] + start * way + 0.7 * offset
            row[M1 + d] = row[P0 + d] + end * way + 0.7 * offset
        row[MR] = radius


@njit(cache=True, nogil=True)
def _place(row: np.ndarray, end: int, c: float, s: float, along: float, b: float, n: float) -> None:
    """Write a point given in a slab's own axes (along, b, n) as (t0, t1, n)."""
    row[end] = along * c - b * s
    row[end + 1] = along * s + b * c
    row[end + 2] = n


@njit(cache=True, nogil=True)
def _bridge(
    rows: np.ndarray,
    seed: np.uint64,
    slab: int,
    thickness: float,
    square: np.uint64,
    size: float,
    b: float,
    n: float,
    branch: int,
) -> np.uint64:
    """Attach a branch of an odd slab, in the prism around (b, n), to a trunk that it crosses at a hashed place.

    Fills two rows, straight out through the wall between the slabs and on to the trunk's middle, and returns the
    trunk's key; returns 0 where there is nothing to attach to.
    """
    none = np.uint64(0)
    key = mix(mix(square, 14), branch)
    up = n + 0.5 * size > (slab + 1) * thickness - 1.0
    down = n - 0.5 * size < slab * thickness + 1.0
    if uniform(key, 1) > 0.75 or not (up or down):
        return none
    other = slab + 1 if up else slab - 1
    _, c, s = _slab(seed, slab)
    other_key, oc, os = _slab(seed, other)
    piece = branch * BRANCH_PIECES + 2 + int(uniform(key, 2) * (BRANCH_PIECES - 4))
    along, b_aside, n_aside, radius = _node(square, size, piece)
    b, n = b + b_aside, n + n_aside
    t0, t1 = along * c - b * s, along * s + b * c
    other_along, other_b = t0 * oc + t1 * os, t1 * oc - t0 * os
    column = math.floor(other_b / thickness)
    i = min(FINEST - 1, int((other_b / thickness - column) * FINEST))
    j = 0 if up else FINEST - 1
    level = _leaf_level(other_key, column, i, j)
    i, j = i >> (LEVELS - 1 - level), j >> (LEVELS - 1 - level)
    if _is_spine_room(other_key, column, level, i, j):
        return none
    trunk, trunk_size = _square(other_key, column, level, i, j), thickness / (1 << level)
    trunk_b, trunk_n = column * thickness + (i + 0.5) * trunk_size, other * thickness + (j + 0.5) * trunk_size
    neck = min(0.8 * radius, 0.15 * trunk_size)
    if abs(other_b - trunk_b) > 0.5 * trunk_size - neck:
        return none
    _, trunk_b_aside, trunk_n_aside = _point_at(trunk, trunk_size, other_along)
    through = (slab + 1) * thickness + neck if up else slab * thickness - neck
    _place(rows[0], P0, c, s, along, b, n)
    _place(rows[0], P1, c, s, along, b, through)
    _place(rows[1], P0, c, s, along, b, through)
    _place(rows[1], P1, oc, os, other_along, trunk_b + trunk_b_aside, trunk_n + trunk_n_aside)
    for r in range(2):
        rows[r, R0], rows[r, R1] = neck, neck
        _dress(rows[r], square, trunk, 0.0, piece + r, False)
    return np.uint64(trunk)


@njit(cache=True, nogil=True)
def _branches(
    rows: np.ndarray,
    labels: np.ndarray,
    seed: np.uint64,
    slab: int,
    thickness: float,
    prism: tuple[np.uint64, float, float, float],
    first: int,
    last: int,
) -> int:
    """The branches of a prism of an odd slab that have a piece between two of its points; returns the rows used."""
    square, size, b, n = prism
    _, c, s = _slab(seed, slab)
    used = 0
    for branch in range(first // BRANCH_PIECES, last // BRANCH_PIECES + 1):
        trunk = _bridge(rows[used : used + 2], seed, slab, thickness, square, size, b, n, branch)
        neurite = trunk if trunk != 0 else mix(mix(square, 15), branch)
        if trunk != 0:
            labels[used] = labels[used + 1] = _label(trunk)
            used += 2
        for piece in range(branch * BRANCH_PIECES, (branch + 1) * BRANCH_PIECES - 1):
            _tube(rows[used], square, size, piece, c, s, b, n)
            _dress(rows[used], square, neurite, size, piece, False)
            labels[used] = _label(neurite)
            used += 1
    return used


@njit(cache=True, nogil=True)
def _tube(row: np.ndarray, square: np.uint64, size: float, piece: int, c: float, s: float, b: float, n: float) -> None:
    """The capsule between two consecutive points of a prism's tube."""
    a0, b0, n0, r0 = _node(square, size, piece)
    a1, b1, n1, r1 = _node(square, size, piece + 1)
    _place(row, P0, c, s, a0, b + b0, n + n0)
    _place(row, P1, c, s, a1, b + b1, n + n1)
    row[R0], row[R1] = r0, r1


@njit(cache=True, nogil=True)
def _spine(
    rows: np.ndarray, room: np.uint64, size: float, place: int, c: float, s: float, b: float, n: float, trunk: np.uint64
) -> bool:
    """Spine number `place` of a room around (b, n): a neck out of the trunk one prism before it, and a head."""
    key = mix(mix(room, 16), place)
    if uniform(key, 1) > 0.85:
        return False
    spacing = max(size, 340.0)
    along = (place + 0.5 + 0.2 * (uniform(key, 2) - 0.5)) * spacing
    radius = size * (0.24 + 0.12 * uniform(key, 3))
    neck = min(45.0, 0.15 * size)
    _, b_aside, n_aside = _point_at(trunk, size, along)
    head_b = b + 0.9 * (0.5 * size - radius) * (2.0 * uniform(key, 4) - 1.0)
    head_n = n + 0.9 * (0.5 * size - radius) * (2.0 * uniform(key, 5) - 1.0)
    _place(rows[0], P0, c, s, along, b - size + b_aside, n + n_aside)
    _place(rows[0], P1, c, s, along, head_b, head_n)
    rows[0, R0], rows[0, R1] = neck, neck
    rows[1, :] = rows[0, :]
    _place(rows[1], P0, c, s, along + 1.0, head_b, head_n)
    rows[1, R0], rows[1, R1] = radius, radius
    for r in range(2):
        _dress(rows[r], room, trunk, 0.0, place, False)
        rows[r, MR] = 0.0
    return True


@njit(cache=True, nogil=True)
def _keep_near(rows: np.ndarray, labels: np.ndarray, first: int, last: int, low: np.ndarray, high: np.ndarray) -> int:
    """Drop the rows of [first, last) whose capsule stays outside a region; returns the new end."""
    kept = first
    for k in range(first, last):
        radius = max(rows[k, R0], rows[k, R1])
        near = True
        for d in range(3):
            a, b = rows[k, P0 + d], rows[k, P1 + d]
            near = near and min(a, b) - radius < high[d] and max(a, b) + radius > low[d]
        if near:
            rows[kept] = rows[k]
            labels[kept] = labels[k]
            kept += 1
    return kept


@njit(cache=True, nogil=True)
def _trunk(
    rows: np.ndarray,
    labels: np.ndarray,
    slab: tuple[np.uint64, float, float],
    prism: tuple[np.uint64, float, float, float],
    first: int,
    last: int,
) -> int:
    """The pieces [first, last) of a prism's trunk; returns the rows used."""
    square, size, b, n = prism
    for piece in range(first, last):
        row = rows[piece - first]
        _tube(row, square, size, piece, slab[1], slab[2], b, n)
        _dress(row, square, square, size, piece, True)
        labels[piece - first] = _label(square)
    return last - first


@njit(cache=True, nogil=True)
def _spines(
    rows: np.ndarray,
    labels: np.ndarray,
    slab: tuple[np.uint64, float, float],
    prism: tuple[np.uint64, float, float, float],
    trunk: np.uint64,
    low: float,
    high: float,
) -> int:
    """The spines of a room between two places along its direction; returns the rows used."""
    square, size, b, n = prism
    used, spacing = 0, max(size, 340.0)
    for place in range(math.floor(low / spacing) - 2, math.floor(high / spacing) + 3):
        if _spine(rows[used : used + 2], square, size, place, slab[1], slab[2], b, n, trunk):
            labels[used] = labels[used + 1] = _label(trunk)
            used += 2
    return used


@njit(cache=True, nogil=True)
def capsules(
    seed: np.uint64, thickness: float, low: np.ndarray, high: np.ndarray, rows: np.ndarray, labels: np.ndarray
) -> int:
    """Returns every capsule that comes into the region [low, high) of straight tissue space, always in the same order.

    Args:
        thickness: thickness of a slab, and so the side of the largest prism, nm.
        rows: (capacity, COLUMNS) float64, filled. labels: (capacity,) uint64, filled.

    Returns:
        How many there are, or −1 where the capacity does not suffice.
    """
    used = 0
    for number in range(math.floor(low[2] / thickness) - 1, math.floor(high[2] / thickness) + 2):
        slab = _slab(seed, number)
        key, c, s = slab
        b_low = min(-low[0] * s, -high[0] * s) + min(low[1] * c, high[1] * c)
        b_high = max(-low[0] * s, -high[0] * s) + max(low[1] * c, high[1] * c)
        a_low = min(low[0] * c, high[0] * c) + min(low[1] * s, high[1] * s)
        a_high = max(low[0] * c, high[0] * c) + max(low[1] * s, high[1] * s)
        reach = thickness if number % 2 else 0.0  # bridges go as far into the next slab
        for column in range(math.floor((b_low - reach) / thickness), math.floor((b_high + reach) / thickness) + 1):
            for place in range(FINEST * FINEST):
                i, j = place // FINEST, place % FINEST
                level = _leaf_level(key, column, i, j)
                shift = LEVELS - 1 - level
                if (i >> shift) << shift != i or (j >> shift) << shift != j:
                    continue  # not the first finest square of its leaf
                i, j, size = i >> shift, j >> shift, thickness / (1 << level)
                b, n = column * thickness + (i + 0.5) * size, number * thickness + (j + 0.5) * size
                margin = max(reach, 1.5 * size)
                if b + margin < b_low or b - margin > b_high or n + margin < low[2] or n - margin > high[2]:
                    continue
                prism = (_square(key, column, level, i, j), size, b, n)
                step = max(1.3 * size, 330.0)
                first, last = math.floor((a_low - reach) / step) - 3, math.floor((a_high + reach) / step) + 3
                if used + 3 * (last - first) + 4 * BRANCH_PIECES > len(labels):
                    return -1
                free, free_labels = rows[used:], labels[used:]
                if number % 2:
                    new = _branches(free, free_labels, seed, number, thickness, prism, first, last)
                elif _is_spine_room(key, column, level, i, j):
                    trunk = _square(key, column, level, i - 1, j)
                    new = _spines(free, free_labels, slab, prism, trunk, a_low, a_high)
                else:
                    new = _trunk(free, free_labels, slab, prism, first, last)
                used = _keep_near(rows, labels, used, used + new, low, high)
    return used
