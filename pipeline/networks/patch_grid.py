"""Lays the grid of inference patches over a volume: their places, their blending, and the mirrors at the border.

The grid belongs to the volume, never to a block, so a voxel is made of the same patches in whichever block it lies. At
a patch's rim it counts for nothing, so a block does without patches that touch it with their rim alone. Beyond its
border the volume is its own mirror image.
"""

from __future__ import annotations

import itertools
from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache
from math import prod
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ..errors import RequestError
from ..geometry import Box, Triple, triple

NEGLIGIBLE = 1e-3
"""Weights from which on a patch counts: less than this of an affinity is a quarter of a grey level."""
STEPS = 256
"""Of the blend between two patches: its weights are multiples of 1 / 256, so that products over three axes, and their
sums, are exact in float32."""


class Axis(Hashable, Protocol):
    """Lays patches along one axis, numbered from 0 in their order."""

    def start(self, patch: int) -> int:
        """Returns the first voxel of a patch; it may lie outside the volume."""
        ...

    def weights(self, patch: int) -> NDArray[np.float32]:
        """Weighs each voxel of a patch; over all patches, a voxel's weights add up to 1."""
        ...

    def counting(self, start: int, stop: int) -> range:
        """Returns the patches that count in any voxel of a range."""
        ...


@dataclass(frozen=True)
class HalfOverlap:
    """Lays patch k over [(k − 1) · half, (k + 1) · half): every voxel lies in two patches.

    Args:
        patch: length in voxels: even.
    """

    patch: int

    def __post_init__(self) -> None:
        if self.patch < 2 or self.patch % 2:
            raise RequestError(
                f"Patches overlap by half, so their lengths must be even and positive; found {self.patch}."
            )

    def start(self, patch: int) -> int:
        return (patch - 1) * (self.patch // 2)

    def weights(self, patch: int) -> NDArray[np.float32]:
        return blending_weights(self.patch)

    def counting(self, start: int, stop: int) -> range:
        half = self.patch // 2
        rim = int(np.count_nonzero(blending_weights(self.patch)[:half] == 0))
        return range((start + rim) // half, (stop - 1 - rim) // half + 2)


@dataclass(frozen=True)
class FreeOverlap:
    """Lays patches that overlap by so many voxels; at the volume's ends none reaches out by more than its rim.

    Two neighbours blend linearly between their rims, and a patch counts alone where it has no neighbour. The last
    patch, which would reach out further, lies closer to the one before it, and does not count where that one counts
    alone. A volume shorter than a patch lies in the middle of it.

    Args:
        patch: length in voxels.
        overlap: overlap of two patches, in voxels.
        rim: voxels at each end that count nothing.
        volume: length of the volume, in voxels.
    """

    patch: int
    overlap: int
    rim: int
    volume: int

    def __post_init__(self) -> None:
        if not (self.patch > 0 and 0 <= 2 * self.rim <= self.overlap <= self.patch // 2):
            raise RequestError(
                "An overlap must be at least twice its rim, and at most half of the patch; found an overlap of "
                f"{self.overlap} voxels with a rim of {self.rim} for a patch of {self.patch}."
            )

    @property
    def step(self) -> int:
        return self.patch - self.overlap

    @cached_property
    def count(self) -> int:
        """Counts the patches."""
        return 1 + max(0, -(-(self.volume + 2 * self.rim - self.patch) // self.step))

    def start(self, patch: int) -> int:
        if self.count == 1:
            return (self.volume - self.patch) // 2
        return min(patch * self.step - self.rim, self.volume + self.rim - self.patch)

    def weights(self, patch: int) -> NDArray[np.float32]:
        places = np.arange(self.start(patch), self.start(patch) + self.patch)
        before = self._taken_over(places, patch) if patch else np.ones(self.patch)
        after = self._taken_over(places, patch + 1) if patch + 1 < self.count else np.zeros(self.patch)
        return (before - after).astype(np.float32)

    def counting(self, start: int, stop: int) -> range:
        first, last = (start - self._blend) // self.step, (stop - 1) // self.step
        return range(min(max(0, first), self.count - 1), min(last, self.count - 1) + 1)

    @property
    def _blend(self) -> int:
        """Voxels in which two neighbours count; the first of them is k · step for patch k and the one before it."""
        return self.overlap - 2 * self.rim

    def _taken_over(self, places: NDArray[np.int64], patch: int) -> NDArray[np.float64]:
        """The share of a patch and all later ones in some places: from 0 to 1 across the blend."""
        passed = np.clip(places - patch * self.step + 1, 0, self._blend + 1)
        return np.round(passed / (self._blend + 1) * STEPS) / STEPS


@dataclass(frozen=True)
class Patches:
    """States the shape of patches, and by how much they overlap.

    Args:
        shape: in voxels.
        overlap: overlap of neighbours along each axis, in voxels; None: half a patch, blended by a smooth bump.
        rim: voxels at each end of a patch that count nothing; a third of the overlap unless given.

    Raises:
        RequestError: they do not overlap by half, for an odd length; or there is no room for the rims, or more than
            two patches would count in one place.
    """

    shape: Triple
    overlap: Triple | None = None
    rim: Triple | None = None

    def __post_init__(self) -> None:
        if self.overlap is None and self.rim is not None:
            raise RequestError(f"A rim belongs to an overlap; found a rim of {self.rim} alone. Give an overlap, too.")
        self.over(self.shape)

    def over(self, volume: Triple) -> PatchGrid:
        """These patches over a volume of some shape, in voxels."""
        if self.overlap is None:
            return PatchGrid(self.shape, tuple(HalfOverlap(length) for length in self.shape))
        rim = self.rim or triple([overlap // 3 for overlap in self.overlap])
        each = zip(self.shape, self.overlap, rim, volume, strict=True)
        return PatchGrid(self.shape, tuple(FreeOverlap(*lengths) for lengths in each))


@dataclass(frozen=True)
class PatchGrid:
    """Lays patches over a volume, anchored at its origin; a patch is named by its numbers along z, y and x.

    Args:
        patch: shape, in voxels.
        axes: places of patches along z, y and x.
    """

    patch: Triple
    axes: tuple[Axis, ...]

    def box(self, index: Triple) -> Box:
        """Returns the voxels of a patch; they may lie outside the volume."""
        return Box.of_shape(self.patch, [axis.start(k) for axis, k in zip(self.axes, index, strict=True)])

    def weights(self, index: Triple) -> tuple[NDArray[np.float32], ...]:
        """Weighs a patch along z, y and x; a voxel of it counts by the product of the three."""
        return tuple(_weights(axis, k) for axis, k in zip(self.axes, index, strict=True))

    def reach(self, index: Triple) -> Box:
        """Returns the voxels in which a patch counts: all of it but its rim."""
        counting = [np.flatnonzero(weights) for weights in self.weights(index)]
        start = self.box(index).start
        return Box(
            triple([a + int(places[0]) for a, places in zip(start, counting, strict=True)]),
            triple([a + int(places[-1]) + 1 for a, places in zip(start, counting, strict=True)]),
        )

    def touching(self, block: Box) -> Iterator[Triple]:
        """Yields the patches that count in a voxel of a block, in global order: z slowest."""
        z, y, x = self._ranges(block)
        yield from itertools.product(z, y, x)

    def span(self, block: Box) -> Box:
        """Returns the smallest box that holds every patch that counts in a block; it may reach outside the volume."""
        ranges = self._ranges(block)
        first, last = (triple([numbers[end] for numbers in ranges]) for end in (0, -1))
        return Box(self.box(first).start, self.box(last).stop)

    def computed(self, block: Box) -> int:
        """Returns voxels of all the patches that count in a block."""
        return prod(len(numbers) for numbers in self._ranges(block)) * prod(self.patch)

    def _ranges(self, block: Box) -> list[range]:
        ends = zip(self.axes, block.start, block.stop, strict=True)
        return [axis.counting(start, stop) for axis, start, stop in ends]


@lru_cache(maxsize=4096)
def _weights(axis: Axis, patch: int) -> NDArray[np.float32]:
    return axis.weights(patch)


def blending_weights(length: int) -> NDArray[np.float32]:
    """Returns weights of the voxels along one axis of a patch; those of two patches that overlap by half add up to 1.

    The bump log w = −(u (1 − u))^−1.5 with u = (i + 1) / (n + 1) of Lee et al. 2017 (arXiv 1706.00120), divided by its
    sum over the two patches. The bump of a patch is the product over its axes, and so is the sum over all the patches
    of a voxel: normalising each axis alone is normalising the whole. What is left is stretched so that weights below
    `NEGLIGIBLE` are 0, and those of the partner 1.
    """
    u = np.arange(1, length + 1) / (length + 1)
    log = -((u * (1 - u)) ** -1.5)
    partner = np.roll(log, length // 2)
    weights = 1 / (1 + np.exp(np.minimum(partner - log, 700)))
    return np.clip((weights - NEGLIGIBLE) / (1 - 2 * NEGLIGIBLE), 0, 1).astype(np.float32)


def mirrored(start: int, stop: int, length: int) -> NDArray[np.int64]:
    """Returns indices in [0, length) of the positions start … stop − 1 of an axis that both its ends mirror.

    The first and the last voxel are not repeated.
    """
    positions = np.arange(start, stop)
    if length == 1:
        return np.zeros_like(positions)
    folded = positions % (2 * length - 2)
    return np.minimum(folded, 2 * length - 2 - folded)
