"""The contact graph: for every two supervoxels that touch, exact sums over the voxel edges between them.

1. `interior_contacts`: all voxel edges inside a block.
2. `face_contacts`: the voxel edges through one face between two blocks, and the links that cross it.
3. `combine`: equal pairs become one contact.

A contact carries (sum, count, first): the sum of its uint8 affinities, the number of its voxel edges, and the
smallest canonical edge id among them. They combine by +, +, min, so no order of work changes them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from numba import njit

from ..geometry import Box, Triple

Int64s = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Contacts:
    """Contacts between nodes that are named by their index; all arrays are (n,) int64, each pair once, a < b.

    Args:
        a, b: the two nodes.
        sum: sum of uint8 affinities.
        count: number of voxel edges.
        first: the smallest canonical edge id: 3 · linear index of the edge's voxel in the volume + channel.
    """

    a: Int64s
    b: Int64s
    sum: Int64s
    count: Int64s
    first: Int64s

    def __len__(self) -> int:
        return len(self.a)

    @classmethod
    def empty(cls) -> Contacts:
        return cls(*(np.empty(0, dtype=np.int64) for _ in range(5)))

    @classmethod
    def concatenate(cls, parts: list[Contacts]) -> Contacts:
        """All contacts of the parts, pairs not yet combined."""
        if not parts:
            return cls.empty()
        return cls(
            *(np.concatenate([getattr(part, name) for part in parts]) for name in ("a", "b", "sum", "count", "first"))
        )

    def select(self, keep: npt.NDArray[np.bool_]) -> Contacts:
        return Contacts(self.a[keep], self.b[keep], self.sum[keep], self.count[keep], self.first[keep])

    def renamed(self, names: Int64s) -> Contacts:
        """The contacts between names[a] and names[b], combined; what is now inside one node is dropped."""
        return combine(Contacts(names[self.a], names[self.b], self.sum, self.count, self.first))


def interior_contacts(
    labels: npt.NDArray[np.uint32], affinities: npt.NDArray[np.uint8], block: Box, volume: Triple
) -> Contacts:
    """Contacts over the voxel edges whose two ends lie in the block. Node i is label i + 1.

    Args:
        labels: (Z, Y, X) uint32, dense, 0 for background.
        affinities: (3, Z, Y, X) uint8 over the same voxels.
        block: where the arrays lie in the volume.
        volume: shape of the volume.
    """
    origin = np.array(block.start, dtype=np.int64)
    return _sorted_entries(_interior(labels, affinities, origin, np.array(volume, dtype=np.int64)))


def face_contacts(
    before: npt.NDArray[np.uint32],
    behind: npt.NDArray[np.uint32],
    affinities: npt.NDArray[np.uint8],
    picked: npt.NDArray[np.bool_],
    first_voxel: Triple,
    volume: Triple,
    axis: int,
) -> tuple[Contacts, npt.NDArray[np.int64]]:
    """Contacts and links through the face between two blocks that follow one another along an axis.

    Args:
        before: 2-D labels of the last layer of the first block, in the order of the remaining two axes.
        behind: 2-D labels of the first layer of the second block.
        affinities: 2-D uint8, the channel of `axis` on the first layer of the second block.
        picked: 2-D, whether each of these edges is picked.
        first_voxel: volume coordinates of the first voxel of the second block.
        volume: shape of the volume.
        axis: 0, 1 or 2.

    Returns:
        Contacts with a = label in the first block − 1 and b = label in the second − 1 (two separate ranges of names),
        and the links as an (n, 2) array of such pairs, sorted.
    """
    strides = np.array([volume[1] * volume[2], volume[2], 1], dtype=np.int64)
    rows, columns = (s for i, s in enumerate(strides) if i != axis)
    origin = int(strides @ np.array(first_voxel, dtype=np.int64))
    contacts = _sorted_entries(_face(before, behind, affinities, origin, rows, columns, axis))
    pairs = np.stack([before[picked], behind[picked]], axis=1).astype(np.int64) - 1
    return contacts, np.unique(pairs, axis=0)


def _sorted_entries(table: npt.NDArray[np.uint64]) -> Contacts:
    entries = table[table[:, 0] != 0]
    keys, *sums = (column.astype(np.int64) for column in entries[np.argsort(entries[:, 0])].T)
    return Contacts((keys >> 32) - 1, (keys & 0xFFFFFFFF) - 1, *sums)


def combine(contacts: Contacts) -> Contacts:
    """One contact for each unordered pair, sorted by (a, b) with a < b; contacts of a node with itself are dropped."""
    a, b = np.minimum(contacts.a, contacts.b), np.maximum(contacts.a, contacts.b)
    apart = np.flatnonzero(a != b)
    order = apart[np.argsort(a[apart] << 32 | b[apart])]  # nodes are fewer than 2³¹
    if not len(order):
        return Contacts.empty()
    a, b = a[order], b[order]
    starts = np.flatnonzero(np.concatenate([[True], (a[1:] != a[:-1]) | (b[1:] != b[:-1])]))
    return Contacts(
        a[starts],
        b[starts],
        np.add.reduceat(contacts.sum[order], starts),
        np.add.reduceat(contacts.count[order], starts),
        np.minimum.reduceat(contacts.first[order], starts),
    )


# The table: open addressing, an entry a row of four words (key, sum, count, first), so that a look-up touches one
# cache line. Keys are never 0.


@njit(nogil=True, cache=True)
def _slot(table, key):  # type: ignore[no-untyped-def]
    """Where a key lies in the table, or the free place for it."""
    mask = np.uint64(table.shape[0] - 1)
    place = ((key * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(20)) & mask
    while table[place, 0] != 0 and table[place, 0] != key:
        place = (place + np.uint64(1)) & mask
    return place


@njit(nogil=True, cache=True)
def _grow(table):  # type: ignore[no-untyped-def]
    larger = np.zeros((table.shape[0] * 2, 4), dtype=np.uint64)
    for i in range(table.shape[0]):
        if table[i, 0] != 0:
            larger[_slot(larger, table[i, 0])] = table[i]
    return larger


@njit(nogil=True, cache=True)
def _add(table, key, total, count, first):  # type: ignore[no-untyped-def]
    """Add a run of voxel edges to a pair; returns 1 if the pair is new."""
    entry = table[_slot(table, key)]
    new = entry[0] == 0
    if new:
        entry[0] = key
        entry[3] = np.uint64(first)
    entry[1] += np.uint64(total)
    entry[2] += np.uint64(count)
    entry[3] = min(entry[3], np.uint64(first))
    return np.int64(new)


@njit(nogil=True, cache=True)
def _pair(a, b):  # type: ignore[no-untyped-def]
    return (np.uint64(a) << np.uint64(32)) | np.uint64(b)


@njit(nogil=True, cache=True)
def _mark(one, two, ordered, marks):  # type: ignore[no-untyped-def]
    """Mark the places where two different labels touch; a plain loop over bytes, so that it becomes vector code."""
    for x in range(one.size):
        marks[x] = (one[x] != 0) & (two[x] != 0) & (ordered | (one[x] != two[x]))


@njit(nogil=True, cache=True)
def _add_row(table, one, two, affinities, edge, step, ordered, marks):  # type: ignore[no-untyped-def]
    """Add the edges between two rows of labels, runs of equal pairs at a time; returns how many pairs are new.

    `marks` is scratch: n bytes and at least one more, a multiple of eight, 0 behind the row.
    """
    new = 0
    n = one.size
    _mark(one, two, ordered, marks)
    marks[n:] = 0
    eights = marks.view(np.uint64)
    x = 0
    while x < n:
        if marks[x] == 0:
            x += 1
            # Most places are unmarked: skip them eight at a time.
            while x % 8 == 0 and x < n and eights[x // 8] == 0:
                x += 8
            continue
        a = one[x]
        b = two[x]
        start = x
        total = 0
        while marks[x] and one[x] == a and two[x] == b:
            total += affinities[x]
            x += 1
        key = _pair(a, b) if a < b or ordered else _pair(b, a)
        new += _add(table, key, total, x - start, edge + start * step)
    return new


@njit(nogil=True, cache=True)
def _scratch(length):  # type: ignore[no-untyped-def]
    return np.zeros((length // 8 + 1) * 8, dtype=np.uint8)


@njit(nogil=True, cache=True)
def _interior(labels, affinities, origin, volume):  # type: ignore[no-untyped-def]
    nz, ny, nx = labels.shape
    table = np.zeros((1 << 12, 4), dtype=np.uint64)
    pairs = 0
    marks = _scratch(nx)
    # One axis after the other: interleaved, the runs of equal pairs fall out of the cache.
    for axis in range(3):
        for z in range(1 if axis == 0 else 0, nz):
            for y in range(1 if axis == 1 else 0, ny):
                edge = 3 * (((z + origin[0]) * volume[1] + y + origin[1]) * volume[2] + origin[2]) + axis
                if axis == 2:
                    one, two, row, edge = labels[z, y, : nx - 1], labels[z, y, 1:], affinities[2, z, y, 1:], edge + 3
                elif axis == 1:
                    one, two, row = labels[z, y - 1], labels[z, y], affinities[1, z, y]
                else:
                    one, two, row = labels[z - 1, y], labels[z, y], affinities[0, z, y]
                # A row adds at most nx pairs: make room beforehand, at most half full.
                while 2 * (pairs + nx) > table.shape[0]:
                    table = _grow(table)
                pairs += _add_row(table, one, two, row, edge, 3, False, marks)
    return table


@njit(nogil=True, cache=True)
def _face(before, behind, affinities, origin, rows, columns, axis):  # type: ignore[no-untyped-def]
    height, width = before.shape
    table = np.zeros((1 << 12, 4), dtype=np.uint64)
    pairs = 0
    marks = _scratch(width)
    for i in range(height):
        while 2 * (pairs + width) > table.shape[0]:
            table = _grow(table)
        edge = 3 * (origin + i * rows) + axis
        pairs += _add_row(table, before[i], behind[i], affinities[i], edge, 3 * columns, True, marks)
    return table
