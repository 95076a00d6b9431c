"""Greedy mean-affinity agglomeration of a contact graph, exact, and safe to run on a part of the volume.

The best eligible contact is merged until none is left. Contacts rank by their mean affinity, compared as fractions of
integers; ties go to the smaller count, then to the smaller `first`. A merge never makes a contact rank above the better
of the two it came from, so a contact that is the best eligible one of both its ends can be merged at any time.

Part of a volume: an *open* node has contacts that are not known yet and must not merge. When the best contact left
has an open end, that contact is the best of its other end too, which therefore must wait: it is *frozen*. So freezing
spreads exactly to the nodes whose fate is not decided here.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from numba import njit

from ..errors import TaskError
from ..thresholds import MAXIMUM, SCALE, Threshold
from .contacts import Contacts, Int64s

MOST_CONTACTS = 2**30  # the two ends of a contact have numbers below 2³¹


@dataclass(frozen=True)
class MergeRule:
    """When two segments become one.

    Args:
        threshold: a contact whose mean affinity passes this may be merged.
        small_size: a segment with fewer voxels is small; 0 means that none is.
        small_threshold: a contact of a small segment may be merged already when it passes this.
    """

    threshold: Threshold
    small_size: int = 0
    small_threshold: Threshold = MAXIMUM


@dataclass(frozen=True)
class Merges:
    """What became of the nodes of a graph.

    Args:
        node: for each node the smallest node of its cluster.
        undecided: for each node, whether its cluster is open or has an eligible contact left.
        a, b: the clusters merged, by their smallest nodes, a < b, in an order that respects dependence.
        sum, count: the contact over which each merge went.
    """

    node: Int64s
    undecided: npt.NDArray[np.bool_]
    a: Int64s
    b: Int64s
    sum: Int64s
    count: Int64s


def merge_closed(contacts: Contacts, sizes: Int64s, is_open: npt.NDArray[np.bool_], rule: MergeRule) -> Merges:
    """Do every merge of the greedy run that is decided already by what is known here.

    Args:
        contacts: between nodes 0…n − 1, each pair once.
        sizes: (n,) voxels of each node.
        is_open: (n,) whether a node reaches beyond what is known.
        rule: which contacts are eligible.

    Raises:
        TaskError: there are 2³⁰ contacts or more.
    """
    if len(contacts) >= MOST_CONTACTS:
        raise TaskError(
            f"One region may have fewer than {MOST_CONTACTS} contacts; found {len(contacts)}. Raise low or lower high, "
            "so that supervoxels are larger, or use smaller blocks."
        )
    limits = np.array([rule.threshold.per_edge, rule.small_threshold.per_edge, rule.small_size], dtype=np.int64)
    return Merges(*_merge(contacts.a, contacts.b, contacts.sum, contacts.count, contacts.first, sizes, is_open, limits))


@njit(nogil=True, cache=True)
def _product(a, b):  # type: ignore[no-untyped-def]
    """High and low half of a 128-bit product."""
    low32 = np.uint64(0xFFFFFFFF)
    half = np.uint64(32)
    a, b = np.uint64(a), np.uint64(b)
    a0, a1, b0, b1 = a & low32, a >> half, b & low32, b >> half
    cross = a1 * b0 + (a0 * b0 >> half)
    middle = (cross & low32) + a0 * b1
    return a1 * b1 + (cross >> half) + (middle >> half), a * b


@njit(nogil=True, cache=True)
def _compare(sum1, count1, sum2, count2):  # type: ignore[no-untyped-def]
    """Sign of sum1 / count1 − sum2 / count2, exact for any 64-bit integers."""
    high1, low1 = _product(sum1, count2)
    high2, low2 = _product(sum2, count1)
    if high1 != high2:
        return 1 if high1 > high2 else -1
    if low1 != low2:
        return 1 if low1 > low2 else -1
    return 0


@njit(nogil=True, cache=True)
def _eligible(total, count, size1, size2, limits):  # type: ignore[no-untyped-def]
    limit = limits[1] if min(size1, size2) < limits[2] and limits[1] < limits[0] else limits[0]
    return _compare(total, count, limit, SCALE) >= 0


# The queue: a binary heap of candidates (contact, and its sum and count when it was put in). A contact whose count has
# grown since has a newer candidate, or is not eligible any more. Doubles decide unless they are equal: rounding is
# monotone, so a larger double is a larger fraction.


@njit(nogil=True, cache=True)
def _ranks_above(one, two, first):  # type: ignore[no-untyped-def]
    if one[0] != two[0]:
        return one[0] > two[0]
    order = _compare(one[2], one[3], two[2], two[3])
    if order != 0:
        return order > 0
    if one[3] != two[3]:
        return one[3] < two[3]
    return first[one[1]] < first[two[1]]


@njit(nogil=True, cache=True)
def _sift_down(heap, i, first):  # type: ignore[no-untyped-def]
    n = len(heap)
    item = heap[i]
    while True:
        child = 2 * i + 1
        if child >= n:
            break
        if child + 1 < n and _ranks_above(heap[child + 1], heap[child], first):
            child += 1
        if not _ranks_above(heap[child], item, first):
            break
        heap[i] = heap[child]
        i = child
    heap[i] = item


@njit(nogil=True, cache=True)
def _push(heap, item, first):  # type: ignore[no-untyped-def]
    heap.append(item)
    i = len(heap) - 1
    while i > 0:
        up = (i - 1) // 2
        if not _ranks_above(item, heap[up], first):
            break
        heap[i] = heap[up]
        i = up
    heap[i] = item


@njit(nogil=True, cache=True)
def _pop(heap, first):  # type: ignore[no-untyped-def]
    best = heap[0]
    last = heap.pop()
    if len(heap):
        heap[0] = last
        _sift_down(heap, 0, first)
    return best


# The graph: contacts keep their number while their ends change. Each node has a chain of its contact ends (2 e for a
# contact's first end, 2 e + 1 for its second), and a table of contact numbers finds the contact of a pair. The table
# has no keys: what lies in a slot says itself which pair it joins, and dead contacts are passed over.


@njit(nogil=True, cache=True)
def _find_pair(slots, a, b, alive, u, v):  # type: ignore[no-untyped-def]
    """(the living contact of u and v or −1, its slot or the free one where it would go)."""
    mask = np.uint64(slots.size - 1)
    key = (np.uint64(min(u, v)) << np.uint64(32)) | np.uint64(max(u, v))
    slot = ((key * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(20)) & mask
    while slots[slot] >= 0:
        e = slots[slot]
        if alive[e] and ((a[e] == u and b[e] == v) or (a[e] == v and b[e] == u)):
            return np.int64(e), slot
        slot = (slot + np.uint64(1)) & mask
    return np.int64(-1), slot


@njit(nogil=True, cache=True)
def _index_pairs(a, b, alive, size):  # type: ignore[no-untyped-def]
    slots = np.full(size, -1, dtype=np.int32)
    for e in range(a.size):
        if alive[e]:
            slots[_find_pair(slots, a, b, alive, a[e], b[e])[1]] = e
    return slots


@njit(nogil=True, cache=True)
def _chain_ends(a, b, n):  # type: ignore[no-untyped-def]
    head = np.full(n, -1, dtype=np.int32)
    following = np.empty(2 * a.size, dtype=np.int32)
    degree = np.zeros(n, dtype=np.int32)
    for end in range(2 * a.size):
        node = a[end // 2] if end % 2 == 0 else b[end // 2]
        following[end] = head[node]
        head[node] = end
        degree[node] += 1
    return head, following, degree


@njit(nogil=True, cache=True)
def _merge(a, b, total, count, first, sizes, is_open, limits):  # type: ignore[no-untyped-def]
    n = sizes.size
    a, b = a.astype(np.int32), b.astype(np.int32)
    total, count, first = total.copy(), count.copy(), first.copy()
    size = sizes.copy()
    frozen = is_open.copy()
    alive = np.ones(a.size, dtype=np.bool_)
    parent = np.arange(n)
    smallest = np.arange(n)
    head, following, degree = _chain_ends(a, b, n)
    table_size = 16
    while table_size < 2 * a.size:
        table_size *= 2
    slots = _index_pairs(a, b, alive, table_size)
    in_table = a.size
    merged = [(0, 0, 0, 0) for _ in range(0)]

    heap = [(0.0, 0, 0, 0) for _ in range(0)]
    for e in range(a.size):
        if _eligible(total[e], count[e], size[a[e]], size[b[e]], limits):
            heap.append((total[e] / count[e], e, total[e], count[e]))
    for i in range(len(heap) // 2 - 1, -1, -1):
        _sift_down(heap, i, first)

    while len(heap):
        _, e, _, seen = _pop(heap, first)
        u, v = a[e], b[e]
        if not alive[e] or seen != count[e] or not _eligible(total[e], count[e], size[u], size[v], limits):
            continue
        if frozen[u] or frozen[v]:
            frozen[u] = True
            frozen[v] = True
            continue
        low, high = min(smallest[u], smallest[v]), max(smallest[u], smallest[v])
        merged.append((low, high, total[e], count[e]))
        alive[e] = False
        if degree[u] > degree[v]:
            u, v = v, u
        parent[u] = v
        smallest[v] = low
        size[v] += size[u]
        # Walk the shorter chain, u's; look each neighbour up among v's.
        end = head[u]
        while end != -1:
            after = following[end]
            f = end // 2
            if alive[f]:
                other = b[f] if end % 2 == 0 else a[f]
                g, slot = _find_pair(slots, a, b, alive, v, other)
                if g >= 0:
                    alive[f] = False
                    total[g] += total[f]
                    count[g] += count[f]
                    first[g] = min(first[g], first[f])
                    degree[other] -= 1
                    if _eligible(total[g], count[g], size[v], size[other], limits):
                        _push(heap, (total[g] / count[g], g, total[g], count[g]), first)
                else:
                    if end % 2 == 0:
                        a[f] = v
                    else:
                        b[f] = v
                    slots[slot] = f
                    in_table += 1
                    following[end] = head[v]
                    head[v] = end
                    degree[v] += 1
                    if 3 * in_table > 2 * slots.size:
                        slots = _index_pairs(a, b, alive, slots.size)
                        in_table = alive.sum()
            end = after
        degree[v] -= 1

    undecided = is_open.copy()
    for i in range(n):
        root = i
        while parent[root] != root:
            root = parent[root]
        walk = i
        while parent[walk] != root:
            parent[walk], walk = root, parent[walk]
    for e in range(a.size):
        if alive[e] and _eligible(total[e], count[e], size[a[e]], size[b[e]], limits):
            undecided[a[e]] = True
            undecided[b[e]] = True
    node = np.empty(n, dtype=np.int64)
    waiting = np.empty(n, dtype=np.bool_)
    for i in range(n):
        node[i] = smallest[parent[i]]
        waiting[i] = undecided[parent[i]]
    steps = np.empty((4, len(merged)), dtype=np.int64)
    for i in range(len(merged)):
        steps[0, i], steps[1, i], steps[2, i], steps[3, i] = merged[i]
    return node, waiting, steps[0], steps[1], steps[2], steps[3]
