"""The contact graph: for every two supervoxels that touch, exact sums over the voxel edges between them.

1. `interior_contacts`: all voxel edges inside a block.
2. `face_contacts`: the voxel edges through one face between two blocks, and the links that cross it.
3. `combine`: equal pairs become one contact.

A contact carries (sum, count, best): the sum of its uint8 affinities, the number of its voxel edges, and the strongest
of them; for quantiles also a histogram. They combine by +, +, max, +, so no order of work changes them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from numba import njit

from ..errors import RequestError, TaskError
from ..geometry import Box, Triple
from .pair_table import EDGE_BITS, add_face, add_interior, empty_table, fill_columns

Int64s = npt.NDArray[np.int64]
MOST_EDGES = 2**32  # of one contact, where a histogram counts them


@dataclass(frozen=True)
class Contacts:
    """Holds contacts between nodes that are named by their index; each pair once, a < b.

    Args:
        a, b: (n,) int64, the two nodes.
        sum: (n,) int64, sum of uint8 affinities.
        count: (n,) int64, number of voxel edges.
        best: (n,) int64, affinity · 2**55 + canonical edge id of the edge with the largest affinity, of equal ones that
            with the largest id. The canonical edge id is 3 · linear index of the edge's voxel in the volume + channel.
        histogram: (n, levels) uint32, voxel edges at each level, see `level_of_affinity`; no levels unless asked for.
    """

    a: Int64s
    b: Int64s
    sum: Int64s
    count: Int64s
    best: Int64s
    histogram: npt.NDArray[np.uint32]

    def __len__(self) -> int:
        return len(self.a)

    @property
    def levels(self) -> int:
        return int(self.histogram.shape[1])

    @property
    def best_affinity(self) -> Int64s:
        """Returns (n,) the largest affinity of each contact, 0…255."""
        return self.best >> EDGE_BITS

    def check_most_edges(self, most_edges: int) -> None:
        """Refuse counts that a histogram cannot hold.

        Raises:
            TaskError: with a histogram a contact has 2³² voxel edges or more.
        """
        if self.levels and most_edges >= MOST_EDGES:
            raise TaskError(
                f"With linkage 'quantile' a contact may have fewer than {MOST_EDGES} voxel edges; found {most_edges}. "
                "Use linkage 'mean', or a higher threshold."
            )

    @classmethod
    def empty(cls, levels: int = 0) -> Contacts:
        none = np.empty(0, dtype=np.int64)
        return cls(none, none, none, none, none, np.empty((0, levels), dtype=np.uint32))

    @classmethod
    def concatenate(cls, parts: list[Contacts]) -> Contacts:
        """Joins the contacts of one part or more, pairs not yet combined; of parts that hold none nothing is copied."""
        parts = [part for part in parts if len(part)] or parts[:1]
        if len(parts) == 1:
            return parts[0]
        joined = {name: np.concatenate([getattr(part, name) for part in parts]) for name in cls.__annotations__}
        return cls(**joined)

    def select(self, keep: npt.NDArray[np.bool_] | Int64s) -> Contacts:
        """Returns some of the contacts, by a mask or by their numbers; themselves where a mask keeps all."""
        if keep.dtype == np.bool_ and keep.all():
            return self
        return Contacts(**{name: getattr(self, name)[keep] for name in Contacts.__annotations__})

    def renamed(self, names: Int64s, gone: npt.NDArray[np.bool_] | None = None) -> Contacts:
        """Renames both ends of contacts and combines them; drops those inside one node and those in the mask `gone`."""
        a, b = names[self.a], names[self.b]
        if gone is not None:
            b[gone] = a[gone]
        return combine(replace(self, a=a, b=b))


def level_of_affinity(levels: int) -> npt.NDArray[np.uint8]:
    """Returns (256,) the level of each affinity: of 0…levels − 1, the nearest to affinity / 255 · (levels − 1).

    Raises:
        RequestError: levels is not 0 or 2…256.
    """
    if levels and not 2 <= levels <= 256:
        raise RequestError(f"A histogram has 2 to 256 levels; found {levels}.")
    return ((np.arange(256) * max(0, levels - 1) + 127) // 255).astype(np.uint8)


def interior_contacts(
    labels: npt.NDArray[np.uint32], affinities: npt.NDArray[np.uint8], block: Box, volume: Triple, levels: int = 0
) -> Contacts:
    """Returns contacts over the voxel edges whose two ends lie in the block. Node i is label i + 1.

    Args:
        labels: (Z, Y, X) uint32, dense, 0 for background.
        affinities: (3, Z, Y, X) uint8 over the same voxels.
        block: where the arrays lie in the volume.
        volume: shape of the volume.
        levels: levels of the histograms; 0 for none.

    Returns:
        The contacts in the order in which a scan of the block meets them.

    Raises:
        RequestError: the volume has 2**55 voxel edges or more, or `levels` is out of range.
    """
    _check_edge_ids(volume)
    origin, shape = np.array(block.start, dtype=np.int64), np.array(volume, dtype=np.int64)
    # Room for more pairs than there will be: what is never touched takes no memory.
    nodes = int(labels.max(initial=0))
    table = empty_table(nodes, 8 * nodes + labels.shape[2], levels)
    return _as_contacts(*add_interior(table, labels, affinities, origin, shape, level_of_affinity(levels)))


def face_contacts(
    before: npt.NDArray[np.uint32],
    behind: npt.NDArray[np.uint32],
    affinities: npt.NDArray[np.uint8],
    picked: npt.NDArray[np.bool_],
    first_voxel: Triple,
    volume: Triple,
    axis: int,
    levels: int = 0,
) -> tuple[Contacts, npt.NDArray[np.int64]]:
    """Returns contacts and links through the face between two blocks that follow one another along an axis.

    Args:
        before: 2-D labels of the last layer of the first block, in the order of the remaining two axes.
        behind: 2-D labels of the first layer of the second block.
        affinities: 2-D uint8, the channel of `axis` on the first layer of the second block.
        picked: 2-D, whether each of these edges is picked.
        first_voxel: volume coordinates of the first voxel of the second block.
        volume: shape of the volume.
        axis: 0, 1 or 2.
        levels: levels of the histograms; 0 for none.

    Returns:
        Contacts with a = label in the first block − 1 and b = label in the second − 1 (two separate ranges of names),
        and the links as an (n, 2) array of such pairs, sorted.

    Raises:
        RequestError: see `interior_contacts`.
    """
    _check_edge_ids(volume)
    strides = np.array([volume[1] * volume[2], volume[2], 1], dtype=np.int64)
    rows, columns = (s for i, s in enumerate(strides) if i != axis)
    origin = int(strides @ np.array(first_voxel, dtype=np.int64))
    level_of = level_of_affinity(levels)
    table = empty_table(int(behind.max(initial=0)), before.size, levels)
    found = add_face(table, before, behind, affinities, origin, rows, columns, axis, level_of)
    contacts = _as_contacts(*found)
    pairs = np.unique(before[picked].astype(np.uint64) << np.uint64(32) | behind[picked])
    links = np.stack([pairs >> np.uint64(32), pairs & np.uint64(0xFFFFFFFF)], axis=1).astype(np.int64) - 1
    return contacts, links


def _check_edge_ids(volume: Triple) -> None:
    if 3 * volume[0] * volume[1] * volume[2] >= 1 << EDGE_BITS:
        raise RequestError(f"A volume must have fewer than 2**{EDGE_BITS} / 3 voxels; found the shape {volume}.")


def _as_contacts(
    pairs: npt.NDArray[np.uint64], sums: Int64s, histogram: npt.NDArray[np.uint32], number: int
) -> Contacts:
    columns = np.empty((5, number), dtype=np.int64)
    fill_columns(pairs, sums, columns)
    a, b, total, count, best = columns
    # No copy: the room that is left over was never touched and takes no memory, the histograms are most of the graph.
    return Contacts(a, b, total, count, best, histogram[:number])


def combine(contacts: Contacts) -> Contacts:
    """Combines contacts to one for each unordered pair, sorted, a < b; a node's contacts with itself are dropped."""
    if _are_combined(contacts.a, contacts.b):
        return contacts
    a, b = np.minimum(contacts.a, contacts.b), np.maximum(contacts.a, contacts.b)
    order = _order_of_pairs(a, b, int(b.max(initial=-1)) + 1)
    if not len(order):
        return Contacts.empty(contacts.levels)
    a, b = a[order], b[order]
    starts = np.flatnonzero(np.concatenate([[True], (a[1:] != a[:-1]) | (b[1:] != b[:-1])]))
    if len(starts) == len(order):
        return replace(contacts.select(order), a=a, b=b)
    count = np.add.reduceat(contacts.count[order], starts)
    contacts.check_most_edges(int(count.max()))
    return Contacts(
        a[starts],
        b[starts],
        np.add.reduceat(contacts.sum[order], starts),
        count,
        np.maximum.reduceat(contacts.best[order], starts),
        _added(contacts.histogram, order, starts),
    )


@njit(nogil=True, cache=True)
def _added(histogram, order, starts):  # type: ignore[no-untyped-def]
    """Sums the rows order[starts[i]:starts[i + 1]].

    They are not put in order first: most of a graph is its histograms, and another copy of them would not fit.
    """
    added = np.zeros((starts.size, histogram.shape[1]), dtype=np.uint32)
    i = -1
    for place in range(order.size):
        if i + 1 < starts.size and starts[i + 1] == place:
            i += 1
        for level in range(histogram.shape[1]):
            added[i, level] += histogram[order[place], level]
    return added


@njit(nogil=True, cache=True)
def _are_combined(a, b):  # type: ignore[no-untyped-def]
    for i in range(a.size):
        if a[i] >= b[i] or (i and (a[i - 1] > a[i] or (a[i - 1] == a[i] and b[i - 1] >= b[i]))):
            return False
    return True


@njit(nogil=True, cache=True)
def _order_of_pairs(a, b, nodes):  # type: ignore[no-untyped-def]
    """The numbers of the pairs with a < b, sorted by (a, b): counted by b, then, stable, by a."""
    apart = 0
    ends = np.zeros((2, nodes + 1), dtype=np.int64)
    for i in range(a.size):
        if a[i] < b[i]:
            apart += 1
            ends[0, b[i] + 1] += 1
            ends[1, a[i] + 1] += 1
    for node in range(nodes):
        ends[0, node + 1] += ends[0, node]
        ends[1, node + 1] += ends[1, node]
    by_b = np.empty(apart, dtype=np.int64)
    for i in range(a.size):
        if a[i] < b[i]:
            by_b[ends[0, b[i]]] = i
            ends[0, b[i]] += 1
    order = np.empty(apart, dtype=np.int64)
    for number in by_b:
        order[ends[1, a[number]]] = number
        ends[1, a[number]] += 1
    return order
