"""Contingency tables: how many voxels each truth object shares with each segment, and where; tables of blocks add.

1. `count` runs over two label arrays, one hash addition for each run of an equal pair along x.
2. `total` adds tables of disjoint boxes. Voxel counts add, places combine by minimum and maximum, and the rows are
   sorted by (truth, segment): the total is the same however the volume was cut, and in whichever order it is added.

Scores need nothing else than such a table.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit

from ..errors import VolumeError
from ..labels import object_ids, unknown_voxels

Labels = npt.NDArray[np.integer]
Mask = npt.NDArray[np.bool_]
Coordinates = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Contingency:
    """Counts voxels shared by truth objects and segments, one row a pair, sorted by (truth, segment).

    Pairs with truth 0 are left out; segment 0 (voxels that the segmentation left unlabelled) is kept.

    Args:
        truth: (N,) uint64, never 0.
        segment: (N,) uint64.
        voxels: (N,) int64, voxels of the pair.
        place: (N, 3) int64, z y x of one voxel of the pair: the first along x of a row (z, y) drawn by a hash, so that
            it lies inside the pair and seldom at its end.
        start: (N, 3) int64, where the pair's bounding box begins.
        stop: (N, 3) int64, where it ends (exclusive).
        scored: voxels looked at, truth 0 included, masked voxels not.
        unknown: of these, voxels whose truth is marked as unknown (see `object_ids`); they count as 0.
    """

    truth: npt.NDArray[np.uint64]
    segment: npt.NDArray[np.uint64]
    voxels: npt.NDArray[np.int64]
    place: Coordinates
    start: Coordinates
    stop: Coordinates
    scored: int
    unknown: int = 0

    def __len__(self) -> int:
        return len(self.voxels)

    def of_coarser_segments(self, segments: npt.NDArray[np.uint64]) -> Contingency:
        """Returns the table that counting a coarser segmentation would give.

        Args:
            segments: (n + 1,) the coarser segment of each label 0…n of this table's segments.
        """
        return total([replace(self, segment=segments[self.segment.astype(np.int64)])])

    def to_arrays(self) -> dict[str, npt.NDArray[np.generic]]:
        """Returns named one-dimensional arrays, as tables.write takes them; coordinates are flattened."""
        places = {name: getattr(self, name).reshape(-1) for name in ("place", "start", "stop")}
        pairs = {name: getattr(self, name) for name in ("truth", "segment", "voxels")}
        counts = {name: np.array([getattr(self, name)], np.int64) for name in ("scored", "unknown")}
        return {**pairs, **places, **counts}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, npt.NDArray[np.generic]]) -> Contingency:
        """Returns the inverse of to_arrays."""
        places = {name: arrays[name].astype(np.int64).reshape(-1, 3) for name in ("place", "start", "stop")}
        return cls(
            truth=arrays["truth"].astype(np.uint64),
            segment=arrays["segment"].astype(np.uint64),
            voxels=arrays["voxels"].astype(np.int64),
            scored=int(arrays["scored"][0]),
            unknown=int(arrays["unknown"][0]),
            **places,
        )


def count(
    truth: Labels, segments: Labels, *, mask: Mask | None = None, origin: Sequence[int] = (0, 0, 0)
) -> Contingency:
    """Returns the contingency table of two label arrays.

    Args:
        truth: (Z, Y, X) of any integer type, or floats of whole numbers, ids as sparse as you like; 0 and what
            `object_ids` takes for unknown are not scored.
        segments: the same shape, of any such type; 0 and what is unknown are unlabelled.
        mask: the same shape; voxels where it is False (or 0) are left out altogether.
        origin: position of the arrays' first voxel, added to every place.

    Raises:
        VolumeError: shapes differ, or labels are not whole numbers.
    """
    _check_shapes(truth, segments, mask)
    truth = truth if mask is None else np.where(mask, truth, truth.dtype.type(0))
    unknown = unknown_voxels(truth)
    truth, segments = object_ids(truth, "truth"), object_ids(segments, "segmentation")
    scored = truth.size if mask is None else int(np.count_nonzero(mask))
    keys, voxels, places = _count(
        np.ascontiguousarray(truth), np.ascontiguousarray(segments), np.array(origin[:2], np.uint64)
    )
    order = np.lexsort((keys[:, 1], keys[:, 0]))
    place, start, stop = (places[order, k : k + 3].astype(np.int64) + np.asarray(origin, np.int64) for k in (0, 3, 6))
    return Contingency(keys[order, 0], keys[order, 1], voxels[order], place, start, stop, scored, unknown)


def total(tables: Iterable[Contingency]) -> Contingency:
    """Returns the sum of the tables of disjoint boxes.

    Tables are taken one by one and added whenever as many new rows wait as the sum has, so that memory follows the
    rows of the sum, not the number of tables, and the time is that of a few sorts.
    """
    pending = [count(np.zeros((0, 0, 0), np.uint64), np.zeros((0, 0, 0), np.uint64))]
    waiting = 0
    for table in tables:
        pending.append(table)
        waiting += len(table)
        if waiting > max(len(pending[0]), 1 << 16):
            pending, waiting = [_add(pending)], 0
    return _add(pending)


def check_scorable(table: Contingency) -> None:
    """Refuse a table without a single truth voxel.

    Raises:
        VolumeError: no voxel has a truth label.
    """
    if len(table) == 0:
        raise VolumeError(
            f"A score needs voxels inside truth objects; none of the {table.scored} voxels looked at has one. "
            "Check the offset, the box and the mask."
        )


def _add(tables: Sequence[Contingency]) -> Contingency:
    arrays = {
        name: np.concatenate([getattr(table, name) for table in tables])
        for name in ("truth", "segment", "voxels", "place", "start", "stop")
    }
    scored, unknown = (sum(getattr(table, name) for table in tables) for name in ("scored", "unknown"))
    z, y, x = arrays["place"].T
    order = np.lexsort((x, _draw(z.astype(np.uint64), y.astype(np.uint64)), arrays["segment"], arrays["truth"]))
    truth, segment, voxels, place, start, stop = (values[order] for values in arrays.values())
    if len(order) == 0:
        return Contingency(truth, segment, voxels, place, start, stop, scored, unknown)
    heads = np.flatnonzero(np.r_[True, (truth[1:] != truth[:-1]) | (segment[1:] != segment[:-1])])
    return Contingency(
        truth=truth[heads],
        segment=segment[heads],
        voxels=np.add.reduceat(voxels, heads),
        place=place[heads],
        start=np.minimum.reduceat(start, heads, axis=0),
        stop=np.maximum.reduceat(stop, heads, axis=0),
        scored=scored,
        unknown=unknown,
    )


def _check_shapes(truth: Labels, segments: Labels, mask: Mask | None) -> None:
    shapes = {"truth": truth.shape, "segmentation": segments.shape} | ({} if mask is None else {"mask": mask.shape})
    if truth.ndim != 3 or len(set(shapes.values())) > 1:
        found = ", ".join(f"{name} {shape}" for name, shape in shapes.items())
        raise VolumeError(f"Scoring compares arrays (Z, Y, X) of one shape; found {found}. Crop them to the same box.")


def _draw(z: Any, y: Any) -> Any:
    """The lot of a row of voxels, of which the smallest wins: a bijection of its 64 bits, so no two are equal."""
    lot = ((z << np.uint64(32)) ^ y) * np.uint64(0x9E3779B97F4A7C15)
    lot = (lot ^ (lot >> np.uint64(32))) * np.uint64(0xD6E8FEB86659FD93)
    return lot ^ (lot >> np.uint64(32))


_draw_one = njit(nogil=True, cache=True)(_draw)


@njit(nogil=True, cache=True)
def _count(truth, segments, origin):  # type: ignore[no-untyped-def]
    """Keys (N, 2), voxel counts (N,) and places (N, 9: place, start, stop) of the pairs, in order of appearance."""
    slots = np.full(1 << 10, -1, np.int32)
    room = len(slots) // 2
    keys = np.empty((room, 2), np.uint64)
    voxels = np.empty(room, np.int64)
    lots = np.empty(room, np.uint64)
    places = np.empty((room, 9), np.int32)
    used = 0
    depth, height, width = truth.shape
    for z in range(depth):
        for y in range(height):
            lot = _draw_one(origin[0] + np.uint64(z), origin[1] + np.uint64(y))
            x = 0
            while x < width:
                begin = x
                t, s = truth[z, y, x], segments[z, y, x]
                x += 1
                while x < width and truth[z, y, x] == t and segments[z, y, x] == s:
                    x += 1
                if t == 0:
                    continue
                slot = _slot(slots, keys, np.uint64(t), np.uint64(s))
                row = slots[slot]
                if row >= 0:
                    voxels[row] += x - begin
                    place = places[row]
                    place[4] = min(place[4], y)
                    place[5] = min(place[5], begin)
                    place[6] = z + 1
                    place[7] = max(place[7], y + 1)
                    place[8] = max(place[8], x)
                    if lot < lots[row]:
                        lots[row] = lot
                        place[0], place[1], place[2] = z, y, begin
                    continue
                slots[slot] = used
                keys[used, 0], keys[used, 1] = t, s
                voxels[used] = x - begin
                lots[used] = lot
                places[used, 0], places[used, 1], places[used, 2] = z, y, begin
                places[used, 3], places[used, 4], places[used, 5] = z, y, begin
                places[used, 6], places[used, 7], places[used, 8] = z + 1, y + 1, x
                used += 1
                if used == room:
                    room *= 2
                    keys, voxels, lots, places = _double(keys), _double(voxels), _double(lots), _double(places)
                    slots = np.full(2 * room, -1, np.int32)
                    for row in range(used):
                        slots[_slot(slots, keys, keys[row, 0], keys[row, 1])] = row
    return keys[:used], voxels[:used], places[:used]


@njit(nogil=True, cache=True)
def _double(array):  # type: ignore[no-untyped-def]
    return np.concatenate((array, np.empty_like(array)))


@njit(nogil=True, cache=True, inline="always")
def _slot(slots, keys, truth, segment):  # type: ignore[no-untyped-def]
    """The slot that holds a pair, or the empty one where it belongs (open addressing, linear probing)."""
    mixed = (truth * np.uint64(0x9E3779B97F4A7C15)) ^ (segment * np.uint64(0xC2B2AE3D27D4EB4F))
    mixed ^= mixed >> np.uint64(29)
    mixed *= np.uint64(0xBF58476D1CE4E5B9)
    slot = np.int64((mixed >> np.uint64(32)) & np.uint64(len(slots) - 1))
    while slots[slot] >= 0 and (keys[slots[slot], 0] != truth or keys[slots[slot], 1] != segment):
        slot = (slot + 1) & (len(slots) - 1)
    return slot
