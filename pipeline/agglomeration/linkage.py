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
from typing import Any

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
        sizes, is_open, unsure, rule.limits(), _scratch(len(contacts), quantile),
    )  # fmt: skip
    contacts.check_most_edges(most_edges)
    return Merges(*found)


def _scratch(contacts: int, quantile: int) -> tuple[npt.NDArray[Any], ...]:
    """The kernel's large arrays: NumPy asks for huge pages where compiled code would not, which matters as they are
    read at random. Rows, slots, links, and the chains of the bins.
    """
    slots = 1 << max(4, (2 * contacts - 1).bit_length())
    sizes = (slots, 2 * contacts, contacts, contacts)
    rows = np.empty((contacts, 4 if quantile < 0 else 5), dtype=np.int64)
    return rows, *(np.empty(size, dtype=np.int32) for size in sizes)


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


# A contact is a row: its two ends as one number, sum, count, best edge, and with quantiles its score; so that looking
# at one touches one cache line. A contact that is gone has ends that no contact has.

_ENDS, _SUM, _COUNT, _BEST, _QUANTILE = range(5)
_GONE = -1


@njit(nogil=True, cache=True)
def _ends(u, v):  # type: ignore[no-untyped-def]
    return (np.int64(min(u, v)) << 32) | np.int64(max(u, v))


@njit(nogil=True, cache=True)
def _end_beyond(ends, node):  # type: ignore[no-untyped-def]
    first, second = ends >> 32, ends & 0xFFFFFFFF
    return second if first == node else first


@njit(nogil=True, cache=True)
def _fill_rows(rows, a, b, total, count, best, histogram, quantile):  # type: ignore[no-untyped-def]
    for e in range(a.size):
        rows[e, _ENDS] = _ends(a[e], b[e])
        rows[e, _SUM], rows[e, _COUNT], rows[e, _BEST] = total[e], count[e], best[e]
        if quantile >= 0:
            rows[e, _QUANTILE] = 255 * _quantile(histogram[e], count[e], quantile)


@njit(nogil=True, cache=True)
def _score(row, levels):  # type: ignore[no-untyped-def]
    """The score as a fraction: a mean, or with levels a quantile."""
    if levels:
        return row[_QUANTILE], np.int64(levels - 1)
    return row[_SUM], row[_COUNT]


@njit(nogil=True, cache=True)
def _may_merge(row, levels, sizes, limits):  # type: ignore[no-untyped-def]
    score, scale = _score(row, levels)
    return _eligible(score, scale, sizes[row[_ENDS] >> 32], sizes[row[_ENDS] & 0xFFFFFFFF], limits)


# The queue. Scores never rise, so contacts are sorted into bins by score, and the bins are emptied from the best down:
# only the contacts of one bin have to be in order. Each bin is a chain, `later` and `earlier` for every contact. The
# bin that is being emptied is a binary heap of candidates (score as a double, contact, its score and count when it was
# put in). A candidate whose contact's count has grown since is stale. Doubles decide unless they are equal: rounding is
# monotone, so a larger double is a larger fraction. The scale of a mean is its count; that of quantiles is the same for
# all.

_BINS = 256 * 256
_NONE = -1
_NOT_IN_A_BIN = -2


@njit(nogil=True, cache=True)
def _bin(row, levels):  # type: ignore[no-untyped-def]
    score, scale = _score(row, levels)
    return np.int64(score / scale * 256)


@njit(nogil=True, cache=True)
def _put(heads, later, earlier, e, place):  # type: ignore[no-untyped-def]
    first = heads[place]
    later[e], earlier[e] = first, _NONE
    if first != _NONE:
        earlier[first] = e
    heads[place] = e


@njit(nogil=True, cache=True)
def _take_out(heads, later, earlier, e, place):  # type: ignore[no-untyped-def]
    if earlier[e] == _NOT_IN_A_BIN:
        return
    if earlier[e] == _NONE:
        heads[place] = later[e]
    else:
        later[earlier[e]] = later[e]
    if later[e] != _NONE:
        earlier[later[e]] = earlier[e]
    earlier[e] = _NOT_IN_A_BIN


@njit(nogil=True, cache=True)
def _candidate(rows, e, levels):  # type: ignore[no-untyped-def]
    score, scale = _score(rows[e], levels)
    return score / scale, np.int64(e), score, rows[e, _COUNT]


@njit(nogil=True, cache=True)
def _empty_bin(heads, later, earlier, place, rows, levels, heap):  # type: ignore[no-untyped-def]
    """Make the contacts of a bin the heap."""
    e = heads[place]
    while e != _NONE:
        heap.append(_candidate(rows, e, levels))
        earlier[e] = _NOT_IN_A_BIN
        e = later[e]
    heads[place] = _NONE
    for i in range(len(heap) // 2 - 1, -1, -1):
        _sift_down(heap, i, rows, levels)


@njit(nogil=True, cache=True)
def _ranks_above(one, two, rows, levels):  # type: ignore[no-untyped-def]
    if one[0] != two[0]:
        return one[0] > two[0]
    if not levels:
        order = _compare(one[2], one[3], two[2], two[3])
        if order != 0:
            return order > 0
    if one[3] != two[3]:
        return one[3] < two[3]
    return rows[one[1], _BEST] > rows[two[1], _BEST]


@njit(nogil=True, cache=True)
def _sift_down(heap, i, rows, levels):  # type: ignore[no-untyped-def]
    n = len(heap)
    item = heap[i]
    while True:
        child = 2 * i + 1
        if child >= n:
            break
        if child + 1 < n and _ranks_above(heap[child + 1], heap[child], rows, levels):
            child += 1
        if not _ranks_above(heap[child], item, rows, levels):
            break
        heap[i] = heap[child]
        i = child
    heap[i] = item


@njit(nogil=True, cache=True)
def _push(heap, item, rows, levels):  # type: ignore[no-untyped-def]
    heap.append(item)
    i = len(heap) - 1
    while i > 0:
        up = (i - 1) // 2
        if not _ranks_above(item, heap[up], rows, levels):
            break
        heap[i] = heap[up]
        i = up
    heap[i] = item


@njit(nogil=True, cache=True)
def _pop(heap, rows, levels):  # type: ignore[no-untyped-def]
    top = heap[0]
    last = heap.pop()
    if len(heap):
        heap[0] = last
        _sift_down(heap, 0, rows, levels)
    return top


# The graph: contacts keep their number while their ends change. Each node has a chain of its contacts (link 2 e of
# contact e in the chain of one end, 2 e + 1 in that of the other), and a table of contact numbers finds the contact of
# a pair. The table has no keys: what lies in a slot says itself which pair it joins, and what is gone is passed over.


@njit(nogil=True, cache=True)
def _find_pair(slots, rows, ends):  # type: ignore[no-untyped-def]
    """(the contact with these ends or −1, its slot or the free one where it would go)."""
    mask = np.uint64(slots.size - 1)
    slot = ((np.uint64(ends) * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(20)) & mask
    while slots[slot] >= 0:
        e = slots[slot]
        if rows[e, _ENDS] == ends:
            return np.int64(e), slot
        slot = (slot + np.uint64(1)) & mask
    return np.int64(-1), slot


@njit(nogil=True, cache=True)
def _index_pairs(slots, rows):  # type: ignore[no-untyped-def]
    slots[:] = -1
    number = 0
    for e in range(rows.shape[0]):
        if rows[e, _ENDS] != _GONE:
            slots[_find_pair(slots, rows, rows[e, _ENDS])[1]] = e
            number += 1
    return number


@njit(nogil=True, cache=True)
def _chain_contacts(following, a, b, n):  # type: ignore[no-untyped-def]
    head = np.full(n, -1, dtype=np.int32)
    degree = np.zeros(n, dtype=np.int32)
    for link in range(2 * a.size):
        node = a[link // 2] if link % 2 == 0 else b[link // 2]
        following[link] = head[node]
        head[node] = link
        degree[node] += 1
    return head, degree


@njit(nogil=True, cache=True)
def _has_one_frozen_neighbour(node, head, following, rows, frozen):  # type: ignore[no-untyped-def]
    found = 0
    link = head[node]
    while link != -1 and found < 2:
        ends = rows[link // 2, _ENDS]
        if ends != _GONE and frozen[_end_beyond(ends, node)]:
            found += 1
        link = following[link]
    return found == 1


@njit(nogil=True, cache=True)
def _flatten(parent):  # type: ignore[no-untyped-def]
    for i in range(parent.size):
        root = i
        while parent[root] != root:
            root = parent[root]
        walk = i
        while parent[walk] != root:
            parent[walk], walk = root, parent[walk]


@njit(nogil=True, cache=True)
def _merge(a, b, total, count, best, histogram, quantile, sizes, is_open, unsure, limits, scratch):  # type: ignore[no-untyped-def]
    n = sizes.size
    rows, slots, following, later, earlier = scratch
    _fill_rows(rows, a, b, total, count, best, histogram, quantile)
    histogram = histogram.copy()
    levels = histogram.shape[1] if quantile >= 0 else 0
    size = sizes.copy()
    undecided = is_open.copy()
    frozen = is_open.copy()
    parent = np.arange(n)
    smallest = np.arange(n)
    name = np.arange(n)
    head, degree = _chain_contacts(following, a, b, n)
    in_table = _index_pairs(slots, rows)
    merged = [(0, 0, 0, 0) for _ in range(0)]

    heads = np.full(_BINS, _NONE, dtype=np.int32)
    earlier[:] = _NOT_IN_A_BIN
    for e in range(a.size):
        if _may_merge(rows[e], levels, size, limits):
            _put(heads, later, earlier, e, _bin(rows[e], levels))

    heap = [(0.0, 0, 0, 0) for _ in range(0)]
    current = _BINS
    while current > 0 or len(heap):
        if not len(heap):
            current -= 1
            _empty_bin(heads, later, earlier, current, rows, levels, heap)
            continue
        _, e, _, seen = _pop(heap, rows, levels)
        ends = rows[e, _ENDS]
        if ends == _GONE or seen != rows[e, _COUNT] or not _may_merge(rows[e], levels, size, limits):
            continue
        u, v = ends >> 32, ends & 0xFFFFFFFF
        if frozen[u] and frozen[v]:
            continue
        score, scale = _score(rows[e], levels)
        joins_frozen = frozen[u] or frozen[v]
        if joins_frozen:
            if frozen[v]:
                u, v = v, u
            # u is frozen, v would join it. Sizes that are not known yet must not matter to this contact, nor may u
            # grow where its size matters to what is not known yet.
            certain = not unsure[u] and _compare(score, scale, limits[5], SCALE) >= 0
            if not certain or not _has_one_frozen_neighbour(v, head, following, rows, frozen):
                frozen[v] = True
                continue
            new_name = name[u]
        else:
            new_name = min(name[u], name[v])
        merged.append((min(name[u], name[v]), max(name[u], name[v]), score, scale))
        rows[e, _ENDS] = _GONE
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
        link = head[u]
        while link != -1:
            next_link = following[link]
            f = link // 2
            if rows[f, _ENDS] != _GONE:
                other = _end_beyond(rows[f, _ENDS], u)
                ends = _ends(v, other)
                g, slot = _find_pair(slots, rows, ends)
                if g >= 0:
                    _take_out(heads, later, earlier, f, _bin(rows[f], levels))
                    _take_out(heads, later, earlier, g, _bin(rows[g], levels))
                    rows[f, _ENDS] = _GONE
                    rows[g, _SUM] += rows[f, _SUM]
                    rows[g, _COUNT] += rows[f, _COUNT]
                    rows[g, _BEST] = max(rows[g, _BEST], rows[f, _BEST])
                    if levels:
                        histogram[g] += histogram[f]
                        rows[g, _QUANTILE] = 255 * _quantile(histogram[g], rows[g, _COUNT], quantile)
                    degree[other] -= 1
                    if _may_merge(rows[g], levels, size, limits):
                        place = _bin(rows[g], levels)
                        if place == current:
                            _push(heap, _candidate(rows, g, levels), rows, levels)
                        else:
                            _put(heads, later, earlier, g, place)
                else:
                    rows[f, _ENDS] = ends
                    slots[slot] = f
                    in_table += 1
                    following[link] = head[v]
                    head[v] = link
                    degree[v] += 1
                    if 3 * in_table > 2 * slots.size:
                        in_table = _index_pairs(slots, rows)
            link = next_link
        degree[v] -= 1

    _flatten(parent)
    for e in range(a.size):
        if rows[e, _ENDS] != _GONE and _may_merge(rows[e], levels, size, limits):
            undecided[rows[e, _ENDS] >> 32] = True
            undecided[rows[e, _ENDS] & 0xFFFFFFFF] = True
    steps = np.empty((4, len(merged)), dtype=np.int64)
    for i in range(len(merged)):
        steps[0, i], steps[1, i], steps[2, i], steps[3, i] = merged[i]
    most_edges = rows[:, _COUNT].max() if a.size else 0
    return smallest[parent], undecided[parent], name[parent], steps[0], steps[1], steps[2], steps[3], most_edges
