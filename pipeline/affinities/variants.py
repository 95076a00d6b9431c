"""Test-time augmentation: affinities are predicted in several orientations, put back and combined.

Strategy: an affinity belongs to the edge from p to p − offset. A flip turns that edge around, so that it then belongs
to the voxel at its other end: the channel is shifted by its offset, and the plane that this leaves without a value
takes no part in the combination. A transpose swaps the channels of y and x.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import torch
from torch import Tensor

from ..errors import AffinityError
from ..geometry import Triple, triple
from ..networks.orientations import Count, Orientation, exchanged, orientations
from .offsets import Offsets

Combine = Literal["mean", "min"]
Source = tuple[int, Triple]


class Variant(Orientation):
    """Describes an orientation in which affinities are predicted."""

    def sources(self, offsets: Offsets) -> tuple[Source, ...]:
        """Finds for each channel the network's channel that holds its edges, and by how much that one is shifted.

        Args:
            offsets: offsets of the channels, the network's and the wanted ones.

        Raises:
            AffinityError: flipped and transposed, the channels are not those that they were.
        """
        seen = [self._in_the_volume(offset) for offset in offsets]
        return tuple(self._source(offset, seen, offsets) for offset in offsets)

    def _in_the_volume(self, offset: Triple) -> Triple:
        """The offset of a channel of the network, along the axes of the patch as it lies in the volume."""
        straight = exchanged(offset) if self.transposed else offset
        return triple([-o if axis in self.flips else o for axis, o in enumerate(straight)])

    def _source(self, offset: Triple, seen: Sequence[Triple], offsets: Offsets) -> Source:
        turned = triple([-o for o in offset])
        if offset in seen:
            return seen.index(offset), (0, 0, 0)
        if turned in seen:
            return seen.index(turned), offset
        raise AffinityError(
            f"Flipping and exchanging y and x must take each affinity channel to one that is there; among the offsets "
            f"{list(offsets)} there is none for {list(offset)} (flipped axes {list(self.flips)}, y and x "
            f"{'exchanged' if self.transposed else 'kept'}). Predict with fewer variants."
        )


def variants_of(count: Count) -> tuple[Variant, ...]:
    """Returns the variants of a patch, itself first: 4 flip y and x, 8 exchange them as well, 16 flip z as well."""
    return tuple(Variant(made.flips, made.transposed) for made in orientations(count))


def predict_variants(
    network: Callable[[Tensor], Tensor],
    patches: Tensor,
    variants: Sequence[Variant],
    offsets: Offsets,
    combine: Combine,
) -> Tensor:
    """Predicts affinities of patches in every variant, and combines them.

    Args:
        network: takes patches (N, 1, Z, Y, X), gives affinities (N, C, Z, Y, X).
        patches: (N, 1, Z, Y, X).
        variants: the first must be the patches as they are, so that every voxel has a value.
        offsets: offsets of the C channels.
        combine: the mean of the values that there are for an edge, or the smallest.

    Returns:
        (N, C, Z, Y, X). Edges that leave the patch have the network's own value, which means nothing.

    Raises:
        AffinityError: see `Variant.sources`.
    """
    first, *others = variants
    total = network(first.apply(patches))
    seen = torch.ones_like(total[0])
    for variant in others:
        found = variant.undo(network(variant.apply(patches).contiguous()))
        for channel, (source, shift) in enumerate(variant.sources(offsets)):
            there, here = _overlap(shift, patches.shape[-3:])
            known, value = total[:, channel][(slice(None), *here)], found[:, source][(slice(None), *there)]
            if combine == "min":
                torch.minimum(known, value, out=known)
            else:
                known += value
            seen[channel][here] += 1
    return total if combine == "min" or not others else total.div_(seen)


def _overlap(shift: Triple, shape: Sequence[int]) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    """The part of an array that stays inside it when it is shifted: where that lies before, and after."""
    before = tuple(slice(max(0, -s), min(n, n - s)) for s, n in zip(shift, shape, strict=True))
    after = tuple(slice(max(0, s), min(n, n + s)) for s, n in zip(shift, shape, strict=True))
    return before, after
