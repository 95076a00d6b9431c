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
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from numba import njit

from ..errors import TaskError
from ..thresholds import SCALE
from .contact_order import (
    ANY_SIZES,
    BEST,
    COUNT,
    ENDS,
    GONE,
    QUANTILE,
    SUM,
    compare,
    end_beyond,
    ends_of,
    fill_rows,
    may_merge,
    quantile_level,
    score_of,
)
from .contact_queue import BINS, NOT_IN_A_BIN, bin_of, candidate, empty_bin, pop, push, put, take_out
from .contacts import Contacts, Int64s
from .rules import MergeRule

Bools = npt.NDArray[np.bool_]
MOST_CONTACTS = 2**30  # the two ends of a contact have numbers below 2³¹


@dataclass(frozen=True)
class Merges:
    """Holds the merges of the nodes of a graph, and the state in which each node is left.

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
        unsure: (n,) which open nodes must not grow here, see `small_supervoxels`.
        rule: rule by which contacts are eligible.

    Raises:
        TaskError: there are 2³⁰ contacts or more, or one with a histogram has 2³² voxel edges or more.
    """
    if len(contacts) >= MOST_CONTACTS:
        raise TaskError(
            f"One region may have fewer than {MOST_CONTACTS} contacts; found {len(contacts)}. Raise low or join_size, "
            "or lower high, so that supervoxels are larger, or use smaller blocks."
        )
    quantile = -1 if rule.quantile is None else rule.quantile.millionths
    node, undecided, name, steps, most_edges = _merge(
        contacts.a, contacts.b, contacts.sum, contacts.count, contacts.best, contacts.histogram, quantile,
        sizes, is_open, unsure, rule.limits(), _scratch(len(contacts), quantile),
    )  # fmt: skip
    contacts.check_most_edges(most_edges)
    return Merges(
        node=node,
        undecided=undecided,
        name=name,
        a=steps[A],
        b=steps[B],
        score=steps[SCORE],
        scale=steps[DIVISOR],
    )


def _scratch(contacts: int, quantile: int) -> tuple[npt.NDArray[Any], ...]:
    """Allocates the kernel's large arrays: rows, slots, links, and the chains of the bins.

    NumPy asks for huge pages where compiled code would not, which matters as the arrays are read at random.
    """
    slots = 1 << max(4, (2 * contacts - 1).bit_length())
    sizes = (slots, 2 * contacts, contacts, contacts)
    rows = np.empty((contacts, 4 if quantile < 0 else 5), dtype=np.int64)
    return rows, *(np.empty(size, dtype=np.int32) for size in sizes)


class _Graph(NamedTuple):
    """The graph while it is merged: contacts keep their number while their ends change.

    Each node has a chain of its contacts: link 2 e of contact e in the chain of one end, 2 e + 1 in that of the other.
    A table of contact numbers finds the contact of a pair. The table has no keys: a contact in a slot says itself which
    pair it joins, and contacts that are gone are passed over.

    Args:
        rows: (m, 4 or 5) of the contacts, see `contact_order`.
        slots: the table; −1 is free.
        links: (2 m,) for each link the next one of its chain; −1 ends it.
        head: (n,) for each node the first link of its chain.
        degree: (n,) for each node its contacts.
        in_table: (1,) slots that are taken.
    """

    rows: Int64s
    slots: npt.NDArray[np.int32]
    links: npt.NDArray[np.int32]
    head: npt.NDArray[np.int32]
    degree: npt.NDArray[np.int32]
    in_table: Int64s


class _Bins(NamedTuple):
    """The bins of `contact_queue`: the first contact of each, and the chains of all."""

    heads: npt.NDArray[np.int32]
    later: npt.NDArray[np.int32]
    earlier: npt.NDArray[np.int32]


A, B, SCORE, DIVISOR = range(4)  # the rows of the merges that the kernel returns


@njit(nogil=True, cache=True)
def _find_pair(slots, rows, ends):  # type: ignore[no-untyped-def]
    """(the contact with these ends or −1, its slot or the free one where it would go)."""
    mask = np.uint64(slots.size - 1)
    slot = ((np.uint64(ends) * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(20)) & mask
    while slots[slot] >= 0:
        e = slots[slot]
        if rows[e, ENDS] == ends:
            return np.int64(e), slot
        slot = (slot + np.uint64(1)) & mask
    return np.int64(-1), slot


@njit(nogil=True, cache=True)
def _index_pairs(slots, rows):  # type: ignore[no-untyped-def]
    slots[:] = -1
    number = 0
    for e in range(rows.shape[0]):
        if rows[e, ENDS] != GONE:
            slots[_find_pair(slots, rows, rows[e, ENDS])[1]] = e
            number += 1
    return number


@njit(nogil=True, cache=True)
def _chain_contacts(links, a, b, n):  # type: ignore[no-untyped-def]
    head = np.full(n, -1, dtype=np.int32)
    degree = np.zeros(n, dtype=np.int32)
    for link in range(2 * a.size):
        node = a[link // 2] if link % 2 == 0 else b[link // 2]
        links[link] = head[node]
        head[node] = link
        degree[node] += 1
    return head, degree


@njit(nogil=True, cache=True)
def _has_one_frozen_neighbour(node, head, links, rows, frozen):  # type: ignore[no-untyped-def]
    found = 0
    link = head[node]
    while link != -1 and found < 2:
        ends = rows[link // 2, ENDS]
        if ends != GONE and frozen[end_beyond(ends, node)]:
            found += 1
        link = links[link]
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
def _certain(score, scale, limits):  # type: ignore[no-untyped-def]
    """Tells whether a score is eligible whatever the sizes."""
    return compare(score, scale, limits[ANY_SIZES], SCALE) >= 0


@njit(nogil=True, cache=True)
def _hand_over(part, whole, graph, bins, heap, current, histogram, quantile, sizes, limits):  # type: ignore[no-untyped-def]
    """Gives the contacts of a node to the node that it has become part of.

    A neighbour of both has two contacts, which become one; that one's score may have fallen into another bin.
    """
    rows, slots, links, head, degree, in_table = graph
    heads, later, earlier = bins
    levels = histogram.shape[1] if quantile >= 0 else 0
    link = head[part]
    while link != -1:
        next_link = links[link]
        f = link // 2
        if rows[f, ENDS] != GONE:
            neighbour = end_beyond(rows[f, ENDS], part)
            ends = ends_of(whole, neighbour)
            g, slot = _find_pair(slots, rows, ends)
            if g < 0:
                rows[f, ENDS] = ends
                slots[slot] = f
                in_table[0] += 1
                links[link] = head[whole]
                head[whole] = link
                degree[whole] += 1
                if 3 * in_table[0] > 2 * slots.size:
                    in_table[0] = _index_pairs(slots, rows)
            else:
                take_out(heads, later, earlier, f, bin_of(rows[f], levels))
                take_out(heads, later, earlier, g, bin_of(rows[g], levels))
                rows[f, ENDS] = GONE
                rows[g, SUM] += rows[f, SUM]
                rows[g, COUNT] += rows[f, COUNT]
                rows[g, BEST] = max(rows[g, BEST], rows[f, BEST])
                if levels:
                    histogram[g] += histogram[f]
                    rows[g, QUANTILE] = 255 * quantile_level(histogram[g], rows[g, COUNT], quantile)
                degree[neighbour] -= 1
                if may_merge(rows[g], levels, sizes, limits):
                    place = bin_of(rows[g], levels)
                    if place == current:
                        push(heap, candidate(rows, g, levels), rows, levels)
                    else:
                        put(heads, later, earlier, g, place)
        link = next_link


@njit(nogil=True, cache=True)
def _merge(a, b, total, count, best, histogram, quantile, sizes, is_open, unsure, limits, scratch):  # type: ignore[no-untyped-def]
    """Goes through the contacts from the best to the worst; docs/segmentation.md proves that each step is exact.

    1. Every eligible contact lies in the bin of its score.
    2. The best one left is taken. One that is gone, has grown since, or is not eligible any more, is passed over.
    3. Between two frozen nodes nothing is decided here.
    4. A node beside a frozen one joins it, if it touches no other frozen one, the score is eligible whatever the sizes,
       which are not known yet, and the frozen one may grow here. Otherwise the node is frozen as well.
    5. The merge is noted, and the node with fewer contacts becomes part of the other.
    6. Its contacts are handed over.
    7. Clusters that keep an eligible contact, and open ones, are undecided.
    """
    n, levels = sizes.size, histogram.shape[1] if quantile >= 0 else 0
    rows, slots, links, later, earlier = scratch
    fill_rows(rows, a, b, total, count, best, histogram, quantile)
    histogram, size = histogram.copy(), sizes.copy()
    undecided, frozen = is_open.copy(), is_open.copy()
    parent, smallest, name = np.arange(n), np.arange(n), np.arange(n)
    head, degree = _chain_contacts(links, a, b, n)
    graph = _Graph(rows, slots, links, head, degree, np.full(1, _index_pairs(slots, rows)))
    bins = _Bins(np.full(BINS, -1, dtype=np.int32), later, earlier)
    merged = [(0, 0, 0, 0) for _ in range(0)]
    heap = [(0.0, 0, 0, 0) for _ in range(0)]

    earlier[:] = NOT_IN_A_BIN  # 1
    for e in range(a.size):
        if may_merge(rows[e], levels, size, limits):
            put(bins.heads, later, earlier, e, bin_of(rows[e], levels))

    current = BINS
    while current > 0 or len(heap):
        if not len(heap):  # 2
            current -= 1
            empty_bin(bins.heads, later, earlier, current, rows, levels, heap)
            continue
        _, e, _, seen = pop(heap, rows, levels)
        ends = rows[e, ENDS]
        if ends == GONE or seen != rows[e, COUNT] or not may_merge(rows[e], levels, size, limits):
            continue
        u, v = ends >> 32, ends & 0xFFFFFFFF
        if frozen[u] and frozen[v]:  # 3
            continue
        score, scale = score_of(rows[e], levels)
        new_name = min(name[u], name[v])
        beside_frozen = frozen[u] or frozen[v]
        if beside_frozen:  # 4
            there, here = (u, v) if frozen[u] else (v, u)
            joins = not unsure[there] and _certain(score, scale, limits)
            if not joins or not _has_one_frozen_neighbour(here, head, links, rows, frozen):
                frozen[here] = True
                continue
            new_name = name[there]
        merged.append((min(name[u], name[v]), max(name[u], name[v]), score, scale))  # 5
        rows[e, ENDS] = GONE
        part, whole = (u, v) if degree[u] <= degree[v] else (v, u)
        parent[part] = whole
        smallest[whole] = min(smallest[u], smallest[v])
        name[whole] = new_name
        frozen[whole] = beside_frozen
        undecided[whole] |= undecided[part]
        size[whole] += size[part]
        _hand_over(part, whole, graph, bins, heap, current, histogram, quantile, size, limits)  # 6
        degree[whole] -= 1  # by the contact that is gone

    _flatten(parent)  # 7
    for e in range(a.size):
        if rows[e, ENDS] != GONE and may_merge(rows[e], levels, size, limits):
            undecided[rows[e, ENDS] >> 32] = True
            undecided[rows[e, ENDS] & 0xFFFFFFFF] = True
    steps = np.empty((4, len(merged)), dtype=np.int64)
    for i in range(len(merged)):
        steps[A, i], steps[B, i], steps[SCORE, i], steps[DIVISOR, i] = merged[i]
    most_edges = rows[:, COUNT].max() if a.size else 0
    return smallest[parent], undecided[parent], name[parent], steps, most_edges
