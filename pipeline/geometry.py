"""Boxes, grids of blocks and the octree over them: frozen values in voxels, axes Z, Y, X, no input or output.

Every grid is anchored at the volume's origin, so that a block's place depends on the block shape alone.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from .errors import RequestError

Triple = tuple[int, int, int]


def triple(values: Sequence[int]) -> Triple:
    """Returns three integers in z, y, x order.

    Raises:
        RequestError: there are not three of them.
    """
    if len(values) != 3:
        raise RequestError(f"Expected three integers in z, y, x order, found {list(values)}.")
    z, y, x = (int(v) for v in values)
    return z, y, x


def linear(shape: Triple, index: Triple) -> int:
    """Returns the place of an index in a grid, z slowest."""
    _, ny, nx = shape
    return (index[0] * ny + index[1]) * nx + index[2]


def unravel(shape: Triple, number: int) -> Triple:
    """Returns the index in a place of a grid, z slowest."""
    _, ny, nx = shape
    return number // (ny * nx), number // nx % ny, number % nx


@dataclass(frozen=True, order=True)
class Box:
    """Bounds voxels by a half-open box: start ≤ p < stop on every axis. An empty box has stop == start somewhere."""

    start: Triple
    stop: Triple

    @classmethod
    def of_shape(cls, shape: Sequence[int], start: Sequence[int] = (0, 0, 0)) -> Box:
        """Returns the box of a shape, from the origin unless a start is given."""
        begin, extent = triple(start), triple(shape)
        return cls(begin, triple([b + e for b, e in zip(begin, extent, strict=True)]))

    @property
    def shape(self) -> Triple:
        return triple([max(0, b - a) for a, b in zip(self.start, self.stop, strict=True)])

    @property
    def voxels(self) -> int:
        z, y, x = self.shape
        return z * y * x

    @property
    def is_empty(self) -> bool:
        return self.voxels == 0

    def intersect(self, other: Box) -> Box:
        """Returns the common part; an empty box where there is none."""
        start = triple([max(a, b) for a, b in zip(self.start, other.start, strict=True)])
        stop = triple([min(a, b) for a, b in zip(self.stop, other.stop, strict=True)])
        return Box(start, triple([max(a, b) for a, b in zip(start, stop, strict=True)]))

    def contains(self, other: Box) -> bool:
        return all(a <= b for a, b in zip(self.start, other.start, strict=True)) and all(
            a >= b for a, b in zip(self.stop, other.stop, strict=True)
        )

    def grow(self, lower: Sequence[int], upper: Sequence[int] | None = None) -> Box:
        """Returns the box extended by `lower` voxels below and `upper` (the same unless given) above."""
        above = lower if upper is None else upper
        return Box(
            triple([a - m for a, m in zip(self.start, lower, strict=True)]),
            triple([b + m for b, m in zip(self.stop, above, strict=True)]),
        )

    def shift(self, by: Sequence[int]) -> Box:
        return Box(
            triple([a + d for a, d in zip(self.start, by, strict=True)]),
            triple([b + d for b, d in zip(self.stop, by, strict=True)]),
        )

    def slices(self, origin: Sequence[int] = (0, 0, 0)) -> tuple[slice, slice, slice]:
        """Returns slices of this box in an array whose first voxel lies at `origin`."""
        z, y, x = (slice(a - o, b - o) for a, b, o in zip(self.start, self.stop, origin, strict=True))
        return z, y, x

    def slabs(self, depth: int) -> Iterator[Box]:
        """Returns the box cut across z at the multiples of a depth, in order."""
        (first, *start), (last, *stop) = self.start, self.stop
        cuts = [first, *range((first // depth + 1) * depth, last, depth), last]
        for a, b in itertools.pairwise(cuts):
            yield Box(triple([a, *start]), triple([b, *stop]))

    def __str__(self) -> str:
        return "[" + ", ".join(f"{a}:{b}" for a, b in zip(self.start, self.stop, strict=True)) + "]"


@dataclass(frozen=True)
class BlockGrid:
    """Lays blocks of one shape over a volume or a region of it, anchored at the volume's origin, cut where that ends.

    Block (0, 0, 0) is the first one that touches the region.

    Args:
        volume: shape of the volume, in voxels.
        block: shape of a block, in voxels.
        region: the voxels that blocks cover; all of the volume unless given.

    Raises:
        RequestError: a size is not positive, or the region is empty or leaves the volume.
    """

    volume: Triple
    block: Triple
    region: Box | None = None

    def __post_init__(self) -> None:
        if min(self.volume) < 1 or min(self.block) < 1:
            raise RequestError(f"Sizes must be at least 1: the volume is {self.volume}, a block is {self.block}.")
        whole = Box.of_shape(self.volume)
        if self.region is not None and (min(self.region.shape) < 1 or not whole.contains(self.region)):
            raise RequestError(
                f"A box must lie inside the volume and hold a voxel: the volume is {whole}, the box {self.region}"
                " (z, y, x, in voxels)."
            )

    @cached_property
    def covered(self) -> Box:
        """Returns the voxels that blocks cover."""
        return Box.of_shape(self.volume) if self.region is None else self.region

    @cached_property
    def first(self) -> Triple:
        """Counts the blocks of the whole volume before block (0, 0, 0) along each axis."""
        return triple([a // b for a, b in zip(self.covered.start, self.block, strict=True)])

    @cached_property
    def shape(self) -> Triple:
        """Counts the blocks along each axis."""
        ends = zip(self.covered.stop, self.block, self.first, strict=True)
        return triple([-(-stop // b) - first for stop, b, first in ends])

    def __len__(self) -> int:
        z, y, x = self.shape
        return z * y * x

    def indices(self) -> Iterator[Triple]:
        """Returns every block's index, z slowest."""
        yield from itertools.product(*(range(n) for n in self.shape))

    def box(self, index: Triple) -> Box:
        """Returns the voxels of a block."""
        return self.box_of(Box.of_shape((1, 1, 1), index))

    def box_of(self, span: Box) -> Box:
        """Returns the voxels of a box of blocks, given in block indices."""
        corners = (
            triple([(i + f) * b for i, f, b in zip(corner, self.first, self.block, strict=True)])
            for corner in (span.start, span.stop)
        )
        return Box(*corners).intersect(self.covered)

    def linear(self, index: Triple) -> int:
        """Returns a block's place in `indices()`."""
        return linear(self.shape, index)

    def unravel(self, number: int) -> Triple:
        """Returns the index whose place in `indices()` is `number`."""
        return unravel(self.shape, number)

    def touching(self, box: Box) -> Iterator[Triple]:
        """Returns the blocks that share at least one voxel with a box."""
        inside = box.intersect(self.covered)
        if inside.is_empty:
            return
        first = [a // b - f for a, b, f in zip(inside.start, self.block, self.first, strict=True)]
        last = [(a - 1) // b - f for a, b, f in zip(inside.stop, self.block, self.first, strict=True)]
        yield from itertools.product(*(range(a, b + 1) for a, b in zip(first, last, strict=True)))


@dataclass(frozen=True)
class Octree:
    """Builds a tree over the blocks of a grid; level 0 is the blocks, the last one the whole volume.

    Each level doubles nodes along the axes where they are shortest, in voxels, so that they have little surface: three
    times, which gives eight children, and for large nodes once, for the fewer children they have, the less they hold.

    Args:
        grid: grid of the blocks.
        large: voxels from which on a node counts as large.
    """

    grid: BlockGrid
    large: int = 1 << 36

    @cached_property
    def spans(self) -> tuple[Triple, ...]:
        """Counts, for each level, the blocks of a node along each axis."""
        spans = [(1, 1, 1)]
        while any(a < b for a, b in zip(spans[-1], self.grid.shape, strict=True)):
            span = list(spans[-1])
            sides = [a * b for a, b in zip(span, self.grid.block, strict=True)]
            for _ in range(3 if math.prod(sides) < self.large else 1):
                growing = [axis for axis in range(3) if span[axis] < self.grid.shape[axis]]
                if growing:
                    axis = min(growing, key=lambda axis: span[axis] * self.grid.block[axis])
                    span[axis] *= 2
            spans.append(triple(span))
        return tuple(spans)

    @property
    def height(self) -> int:
        """Returns the level of the root."""
        return len(self.spans) - 1

    def shape(self, level: int) -> Triple:
        """Counts the nodes of a level along each axis."""
        return triple([-(-n // span) for n, span in zip(self.grid.shape, self.spans[level], strict=True)])

    def children(self, level: int, index: Triple) -> Iterator[Triple]:
        """Returns the nodes of the level below that a node covers."""
        below, each = self.shape(level - 1), self.children_a_side(level)
        ranges = (range(k * i, min(k * i + k, n)) for i, k, n in zip(index, each, below, strict=True))
        yield from itertools.product(*ranges)

    def parent(self, level: int, index: Triple) -> Triple:
        """Returns the node of the level above that covers a node of a level."""
        return triple([i // k for i, k in zip(index, self.children_a_side(level + 1), strict=True)])

    def siblings(self, level: int, index: Triple) -> Iterator[tuple[int, bool]]:
        """Lists the sides on which a node meets another one of the same parent: (axis, whether it is above)."""
        shape, each = self.shape(level), self.children_a_side(level + 1)
        for axis in range(3):
            if index[axis] % each[axis] > 0:
                yield axis, False
            if index[axis] % each[axis] + 1 < each[axis] and index[axis] + 1 < shape[axis]:
                yield axis, True

    def leaf_span(self, level: int, index: Triple) -> Box:
        """Returns the blocks that a node covers, as a box in block indices."""
        start = [i * span for i, span in zip(index, self.spans[level], strict=True)]
        return Box.of_shape(self.spans[level], start).intersect(Box.of_shape(self.grid.shape))

    def box(self, level: int, index: Triple) -> Box:
        """Returns the voxels that a node covers."""
        return self.grid.box_of(self.leaf_span(level, index))

    def open_surface(self, level: int, index: Triple) -> int:
        """Returns voxels on those faces of a node that lie inside what blocks cover."""
        box, covered = self.box(level, index), self.grid.covered
        ends = zip(box.start, box.stop, covered.start, covered.stop, strict=True)
        planes = [(a > first) + (b < last) for a, b, first, last in ends]
        return sum(n * box.voxels // side for n, side in zip(planes, box.shape, strict=True))

    def surface_of_children(self, level: int, index: Triple) -> int:
        """Returns voxels on the open surfaces of a node's children, all together."""
        return sum(self.open_surface(level - 1, child) for child in self.children(level, index))

    def most_surface_of_children(self, level: int) -> int:
        """Returns the most that `surface_of_children` has at any node of a level.

        Along an axis nodes differ only by being first, last or in between, so one of each kind is looked at.
        """
        kinds = ({0, min(1, n - 1), n - 1} for n in self.shape(level))
        return max(self.surface_of_children(level, triple(index)) for index in itertools.product(*kinds))

    def inner_faces(self, level: int, index: Triple) -> Iterator[tuple[int, Triple]]:
        """Returns faces between blocks that lie inside a node and inside none of its children.

        Yields (axis, block): the face between `block` and the block before it along `axis`.
        """
        span = self.leaf_span(level, index)
        for axis in range(3):
            ranges = [range(a, b) for a, b in zip(span.start, span.stop, strict=True)]
            step = self.spans[level - 1][axis]
            ranges[axis] = range(span.start[axis] + step, span.stop[axis], step)
            for block in itertools.product(*ranges):
                yield axis, triple(block)

    def children_a_side(self, level: int) -> Triple:
        """Counts the children of a node of a level along each axis, unless the volume ends before."""
        return triple([a // b for a, b in zip(self.spans[level], self.spans[level - 1], strict=True)])
