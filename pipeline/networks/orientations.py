"""Orientations of a patch: some of its axes flipped, then y and x exchanged or not."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from ..geometry import Triple

if TYPE_CHECKING:
    from torch import Tensor

Count = Literal[1, 4, 8, 16]


@dataclass(frozen=True)
class Orientation:
    """Describes one way to look at a patch.

    Args:
        flips: axes that are flipped; z is 0.
        transposed: whether y and x are exchanged after that.
    """

    flips: tuple[int, ...] = ()
    transposed: bool = False

    def apply(self, patches: Tensor) -> Tensor:
        """Returns patches (…, Z, Y, X) as the network is to see them."""
        flipped = patches.flip([axis - 3 for axis in self.flips])
        return flipped.transpose(-2, -1) if self.transposed else flipped

    def undo(self, maps: Tensor) -> Tensor:
        """Maps (…, Z, Y, X) of what the network saw, each voxel in its place again."""
        return (maps.transpose(-2, -1) if self.transposed else maps).flip([axis - 3 for axis in self.flips])

    def shape(self, patch: Triple) -> Triple:
        """Returns the shape of a patch as the network sees it."""
        return exchanged(patch) if self.transposed else patch


def orientations(count: Count) -> tuple[Orientation, ...]:
    """Returns the orientations of a patch, itself first: 4 flip y and x, 8 exchange them as well, 16 flip z as well."""
    yx = [flips for n in range(3) for flips in itertools.combinations((1, 2), n)]
    depths: tuple[tuple[int, ...], ...] = ((), (0,)) if count == 16 else ((),)
    transposes = (False, True) if count >= 8 else (False,)
    all_of_them = (Orientation((*z, *flips), turn) for z in depths for turn in transposes for flips in yx)
    return tuple(itertools.islice(all_of_them, count))


def exchanged(lengths: Triple) -> Triple:
    """Returns lengths along z, y and x once y and x are exchanged."""
    z, y, x = lengths
    return z, x, y
