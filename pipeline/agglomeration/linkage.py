"""Greedy agglomeration of a contact graph by mean or quantile affinity, exact, and safe to run on a part of the volume.

The best eligible contact is merged until none is left. Contacts rank by score, compared as fractions of integers; ties
go to the smaller count, then to the stronger best edge. A merge never makes a contact rank above the better of the two
it came from, and never makes one eligible; so a contact that is the best eligible one of both its ends can be merged at
any time.

Part of a volume: an *open* node has contacts that are not known yet and must not choose. Its contacts *freeze* the node
at their other end when their turn comes, for that one has to wait too, with one exception: a node whose only frozen
neighbour this is joins it whatever that one becomes. Nothing that happens elsewhere can change the contact between the
two, since all else that the node touches is known to stay apart until then. docs/segmentation.md has the proof.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from numba import njit

from ..errors import TaskError
from ..thresholds import MAXIMUM, SCALE, Threshold
from .contacts import Contacts, Int64s

Bools = npt.NDArray[np.bool_]
MOST_CONTACTS = 2**30  # the two ends of a contact have numbers below 2³¹


@dataclass(frozen=True)
class MergeRule:
    """When two segments become one. All thresholds are on a contact's score.

    Args:
        threshold: a contact that passes this may be merged.
        small_size: a segment with fewer voxels is small; 0 means that none is.
        small_threshold: a contact of a small segment may be merged already when it passes this.
        veto_size: two segments that both have more voxels merge only over a contact that passes `veto_threshold`; 0
            means that there is no veto.
        veto_threshold: see `veto_size`.
        quantile: None: the score is the mean affinity. Else the smallest level such that at least this share of the
            contact's voxel edges lies at it or below, divided by levels − 1.
    """

    threshold: Threshold
    small_size: int = 0
    small_threshold: Threshold = MAXIMUM
    veto_size: int = 0
    veto_threshold: Threshold = MAXIMUM
    quantile: Threshold | None = None

    def limits(self) -> Int64s:
        """What the kernel compares with, see `_eligible`; thresholds in millionths of a grey level."""
        normal, small, veto = (t.per_edge for t in (self.threshold, self.small_threshold, self.veto_threshold))
        whatever_the_sizes = max(normal, veto) if self.veto_size else normal
        return np.array([normal, small, self.small_size, veto, self.veto_size, whatever_the_sizes], dtype=np.int64)


@dataclass(frozen=True)
class Merges:
    """What became of the nodes of a graph.

    Args:
        node: for each node the smallest node of its cluster.
        undecided: for each node, whether its cluster is open or has an eligible contact left.
        name: for each node, the node that stands for its cluster in merges, see `a`.
        a, b: what was merged, a < b: one node of each of the two clusters, such that the merges with a score of s or
            more are a spanning forest of the clusters that the whole run has at s.
        score, scale: of each merge; score / scale is in grey levels, 0…255.
    """

    node: Int64s
    undecided: Bools
    name: Int64s
    a: Int64s
    b: Int64s
    score: Int64s
    scale: Int64s


def merge_closed(contacts: Contacts, sizes: Int64s, is_open: Bools, unsure: Bools, rule: MergeRule) -> Merges:
    """Do every merge of the greedy run that is decided already by what is known here.

    Args:
        contacts: between nodes 0…n − 1, each pair once; with histograms where the rule has a quantile.
        sizes: (n,) voxels of each node.
        is_open: (n,) whether a node reaches beyond what is known.
        unsure: (n,) which open nodes must not grow here, see `joining`.
        rule: which contacts are eligible.

    Raises:
        TaskError: there are 2³⁰ contacts or more, or one with a histogram has 2³² voxel edges or more.
    """
    if len(contacts) >= MOST_CONTACTS:
        raise TaskError(
            f"One region may have fewer than {MOST_CONTACTS} contacts; found {len(contacts)}. Raise low or join_size, "
            "or lower high, so that supervoxels are larger, or use smaller blocks."
        )
    quantile = -1 if rule.quantile is None else rule.quantile.millionths
    *found, most_edges = _merge(
        contacts.a, contacts.b, contacts.sum, contacts.count, contacts.best, contacts.histogram, quantile,
        sizes, is_open, unsure, rule.limits(),
    )  # fmt: skip
    contacts.check_most_edges(most_edges)
    return Merges(*found)


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
def _eligible(score, scale, size1, size2, limits):  # type: ignore[no-untyped-def]
    """Whether two clusters may merge. What is eligible stays so for higher scores and for smaller sizes."""
    normal, small_limit, small_size, veto_limit, veto_size, _ = limits
    smaller = min(size1, size2)
    limit = small_limit if smaller < small_size and small_limit < normal else normal
    if 0 < veto_size < smaller:
        limit = max(limit, veto_limit)
    return _compare(score, scale, limit, SCALE) >= 0


@njit(nogil=True, cache=True)
def _quantile(histogram, count, quantile):  # type: ignore[no-untyped-def]
    """The smallest level that at least this many millionths of the edges do not exceed."""
    below = np.int64(0)
    for level in range(histogram.size):
        below += histogram[level]
        if _compare(below, count, quantile, SCALE) >= 0:
            return level
    return histogram.size - 1


# The queue: a binary heap of candidates (score as a double, contact, its score and count when it was put in). A contact
# whose count has grown since has a newer candidate, or is not eligible any more. Doubles decide unless they are equal:
# rounding is monotone, so a larger double is a larger fraction. The scale of a mean is its count; that of quantiles,
# `fixed_scale`, is the same for all.


@njit(nogil=True, cache=True)
def _ranks_above(one, two, best, fixed_scale):  # type: ignore[no-untyped-def]
    if one[0] != two[0]:
        return one[0] > two[0]
    if not fixed_scale:
        order = _compare(one[2], one[3], two[2], two[3])
        if order != 0:
            return order > 0
    if one[3] != two[3]:
        return one[3] < two[3]
    return best[one[1]] > best[two[1]]


@njit(nogil=True, cache=True)
def _sift_down(heap, i, best, fixed_scale):  # type: ignore[no-untyped-def]
    n = len(heap)
    item = heap[i]
    while True:
        child = 2 * i + 1
        if child >= n:
            break
        if child + 1 < n and _ranks_above(heap[child + 1], heap[child], best, fixed_scale):
            child += 1
        if not _ranks_above(heap[child], item, best, fixed_scale):
            break
        heap[i] = heap[child]
        i = child
    heap[i] = item


@njit(nogil=True, cache=True)
def _push(heap, item, best, fixed_scale):  # type: ignore[no-untyped-def]
    heap.append(item)
    i = len(heap) - 1
    while i > 0:
        up = (i - 1) // 2
        if not _ranks_above(item, heap[up], best, fixed_scale):
            break
        heap[i] = heap[up]
        i = up
    heap[i] = item


@njit(nogil=True, cache=True)
def _pop(heap, best, fixed_scale):  # type: ignore[no-untyped-def]
    top = heap[0]
    last = heap.pop()
    if len(heap):
        heap[0] = last
        _sift_down(heap, 0, best, fixed_scale)
    return top


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
def _has_one_frozen_neighbour(node, head, following, a, b, alive, frozen):  # type: ignore[no-untyped-def]
    found = 0
    end = head[node]
    while end != -1 and found < 2:
        e = end // 2
        if alive[e] and frozen[b[e] if end % 2 == 0 else a[e]]:
            found += 1
        end = following[end]
    return found == 1


@njit(nogil=True, cache=True)
def _merge(a, b, total, count, best, histogram, quantile, sizes, is_open, unsure, limits):  # type: ignore[no-untyped-def]
    n = sizes.size
    a, b = a.astype(np.int32), b.astype(np.int32)
    total, count, best, histogram = total.copy(), count.copy(), best.copy(), histogram.copy()
    # Of a mean, score and scale are sum and count themselves, and change with them.
    score, scale, fixed_scale = total, count, np.int64(0)
    if quantile >= 0:
        fixed_scale = np.int64(histogram.shape[1] - 1)
        score, scale = np.empty(a.size, dtype=np.int64), np.full(a.size, fixed_scale)
        for e in range(a.size):
            score[e] = 255 * _quantile(histogram[e], count[e], quantile)
    size = sizes.copy()
    undecided = is_open.copy()
    frozen = is_open.copy()
    alive = np.ones(a.size, dtype=np.bool_)
    parent = np.arange(n)
    smallest = np.arange(n)
    name = np.arange(n)
    head, following, degree = _chain_ends(a, b, n)
    table_size = 16
    while table_size < 2 * a.size:
        table_size *= 2
    slots = _index_pairs(a, b, alive, table_size)
    in_table = a.size
    merged = [(0, 0, 0, 0) for _ in range(0)]

    heap = [(0.0, 0, 0, 0) for _ in range(0)]
    for e in range(a.size):
        if _eligible(score[e], scale[e], size[a[e]], size[b[e]], limits):
            heap.append((score[e] / scale[e], e, score[e], count[e]))
    for i in range(len(heap) // 2 - 1, -1, -1):
        _sift_down(heap, i, best, fixed_scale)

    while len(heap):
        _, e, _, seen = _pop(heap, best, fixed_scale)
        u, v = a[e], b[e]
        if not alive[e] or seen != count[e] or not _eligible(score[e], scale[e], size[u], size[v], limits):
            continue
        if frozen[u] and frozen[v]:
            continue
        joins_frozen = frozen[u] or frozen[v]
        if joins_frozen:
            if frozen[v]:
                u, v = v, u
            # u is frozen, v would join it. Sizes that are not known yet must not matter to this contact, nor may u
            # grow where its size matters to what is not known yet.
            certain = not unsure[u] and _compare(score[e], scale[e], limits[5], SCALE) >= 0
            if not certain or not _has_one_frozen_neighbour(v, head, following, a, b, alive, frozen):
                frozen[v] = True
                continue
            new_name = name[u]
        else:
            new_name = min(name[u], name[v])
        merged.append((min(name[u], name[v]), max(name[u], name[v]), score[e], scale[e]))
        alive[e] = False
        low = min(smallest[u], smallest[v])
        if degree[u] > degree[v]:
            u, v = v, u
        parent[u] = v
        smallest[v] = low
        name[v] = new_name
        frozen[v] = joins_frozen
        undecided[v] |= undecided[u]
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
                    best[g] = max(best[g], best[f])
                    if fixed_scale:
                        histogram[g] += histogram[f]
                        score[g] = 255 * _quantile(histogram[g], count[g], quantile)
                    degree[other] -= 1
                    if _eligible(score[g], scale[g], size[v], size[other], limits):
                        _push(heap, (score[g] / scale[g], g, score[g], count[g]), best, fixed_scale)
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

    for i in range(n):
        root = i
        while parent[root] != root:
            root = parent[root]
        walk = i
        while parent[walk] != root:
            parent[walk], walk = root, parent[walk]
    for e in range(a.size):
        if alive[e] and _eligible(score[e], scale[e], size[a[e]], size[b[e]], limits):
            undecided[a[e]] = True
            undecided[b[e]] = True
    steps = np.empty((4, len(merged)), dtype=np.int64)
    for i in range(len(merged)):
        steps[0, i], steps[1, i], steps[2, i], steps[3, i] = merged[i]
    most_edges = count.max() if a.size else 0
    return smallest[parent], undecided[parent], name[parent], steps[0], steps[1], steps[2], steps[3], most_edges
