"""The global grid of inference patches: where they lie, how they are blended, and what lies beyond the border.

Patch k of an axis covers [(k − 1) · half, (k + 1) · half) with half = patch / 2 and k ≥ 0: every voxel lies in two
patches of each axis, whatever the blocks are. At a patch's rim it counts for nothing, so a block does without patches
that touch it with their rim alone. Beyond its border the volume is its own mirror image.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..errors import RequestError
from ..geometry import Box, Triple, triple

NEGLIGIBLE = 1e-3
"""Weights from which on a patch counts: less than this of an affinity is a quarter of a grey level."""


@dataclass(frozen=True)
class PatchGrid:
    """Half-overlapping patches anchored at a volume's origin.

    Args:
        patch: shape of a patch, in voxels.

    Raises:
        RequestError: a length is odd, so that patches cannot overlap by half.
    """

    patch: Triple

    def __post_init__(self) -> None:
        if any(p < 2 or p % 2 for p in self.patch):
            raise RequestError(
                f"Patches overlap by half, so their lengths must be even and positive; found {self.patch}."
            )

    @property
    def half(self) -> Triple:
        return triple([p // 2 for p in self.patch])

    @property
    def rim(self) -> Triple:
        """Voxels at each end of a patch whose weight is 0."""
        return triple([int(np.count_nonzero(blending_weights(p)[: p // 2] == 0)) for p in self.patch])

    def box(self, index: Triple) -> Box:
        """The voxels of a patch; they may lie outside the volume."""
        start = triple([(k - 1) * h for k, h in zip(index, self.half, strict=True)])
        return Box.of_shape(self.patch, start)

    def touching(self, block: Box) -> Iterator[Triple]:
        """The patches that count in a voxel of a block, in global order: z slowest."""
        first, last = self._range(block)
        yield from itertools.product(*(range(a, b + 1) for a, b in zip(first, last, strict=True)))

    def span(self, block: Box) -> Box:
        """The smallest box that holds every patch that counts in a block; it may reach outside the volume."""
        first, last = self._range(block)
        return Box(self.box(first).start, self.box(last).stop)

    def _range(self, block: Box) -> tuple[Triple, Triple]:
        first = triple([(a + r) // h for a, h, r in zip(block.start, self.half, self.rim, strict=True)])
        last = triple([(b - 1 - r) // h + 1 for b, h, r in zip(block.stop, self.half, self.rim, strict=True)])
        return first, last


def blending_weights(length: int) -> NDArray[np.float32]:
    """Weights of the voxels along one axis of a patch; those of two patches that overlap by half add up to 1.

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
    """Indices in [0, length) of the positions start … stop − 1 of an axis that its two ends mirror, without repeating
    the outermost voxel, as often as it takes."""
    positions = np.arange(start, stop)
    if length == 1:
        return np.zeros_like(positions)
    folded = positions % (2 * length - 2)
    return np.minimum(folded, 2 * length - 2 - folded)
