"""Nearest-neighbour affinities as the segmentation wants them: uint8, channels z, y, x, each at the later voxel."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import AffinityError
from ..geometry import Box, Triple

Affinities = npt.NDArray[Any]


@dataclass(frozen=True)
class Channels:
    """Says where the nearest-neighbour affinities of z, y and x lie in an array of affinities.

    Args:
        order: channel that holds z, y and x.
        signs: for each of them +1 if the value at p belongs to the edge between p and the voxel before it, −1 if it
            belongs to that between p and the voxel after it.

    Raises:
        AffinityError: channels are negative or used twice, or a sign is neither 1 nor −1.
    """

    order: Triple = (0, 1, 2)
    signs: Triple = (1, 1, 1)

    def __post_init__(self) -> None:
        if len(set(self.order)) != 3 or min(self.order) < 0 or not set(self.signs) <= {1, -1}:
            raise AffinityError(
                f"Affinities need three different channels for z, y, x and signs of 1 or -1; "
                f"found channels {self.order} and signs {self.signs}."
            )

    @classmethod
    def of_offsets(cls, offsets: tuple[Triple, ...]) -> Channels:
        """Finds the channels by their offsets (z, y, x in voxels; the edge at p is that between p and p − offset).

        Raises:
            AffinityError: one axis has no channel with offset 1 or −1.
        """
        order, signs = [], []
        for axis, name in enumerate("zyx"):
            for sign in (1, -1):
                step = tuple(sign * (i == axis) for i in range(3))
                if step in offsets:
                    order.append(offsets.index(step))
                    signs.append(sign)
                    break
            else:
                raise AffinityError(
                    f"Affinities need a nearest-neighbour channel for every axis; none has offset {step} or its "
                    f"opposite along {name} among {list(offsets)}."
                )
        return cls((order[0], order[1], order[2]), (signs[0], signs[1], signs[2]))


ROUNDING = 0.5 / 255
"""By how much a float affinity may lie outside [0, 1]: less than half a grey level, which rounds to 0 or 255."""


def quantise(affinities: Affinities, where: str) -> npt.NDArray[np.uint8]:
    """Returns affinities in grey levels: round(255 · a) of floats in [0, 1], or a rounding beside it; uint8 as it is.

    Args:
        affinities: any shape, uint8 or floating.
        where: names the place in an error, such as a volume and a block.

    Raises:
        AffinityError: another type, NaN, or values outside [0, 1] by more than a rounding.
    """
    if affinities.dtype == np.uint8:
        return affinities.astype(np.uint8, copy=False)
    if not np.issubdtype(affinities.dtype, np.floating):
        raise AffinityError(f"Affinities must be uint8, or floats in [0, 1]; {where} holds {affinities.dtype}.")
    low, high = affinities.min(initial=0), affinities.max(initial=0)
    if not (low > -ROUNDING and high < 1 + ROUNDING):
        finding = "NaN" if np.isnan(low) or np.isnan(high) else f"values from {low:.9g} to {high:.9g}"
        raise AffinityError(
            f"Float affinities must lie in [0, 1] without NaN; {where} holds {finding}. "
            f"Rescale them, or set such voxels to 0, and run again."
        )
    return np.clip(np.rint(np.multiply(affinities, 255)), 0, 255).astype(np.uint8)


def read_nearest(
    read: Callable[[Box, slice], Affinities], box: Box, volume: Triple, channels: Channels, name: str
) -> npt.NDArray[np.uint8]:
    """Returns the affinities of z, y and x over a box, each at the later voxel of its edge.

    Args:
        read: reads a box of some channels as (C, Z, Y, X).
        box: box to read, inside the volume.
        volume: shape of the volume.
        channels: where the three lie.
        name: name of the volume, for errors.

    Returns:
        (3, Z, Y, X) uint8. Edges that leave the volume are 0.

    Raises:
        AffinityError: see `quantise`.
    """
    result = np.zeros((3, *box.shape), dtype=np.uint8)
    for axis, (channel, sign) in enumerate(zip(channels.order, channels.signs, strict=True)):
        step = [0, 0, 0]
        step[axis] = 0 if sign > 0 else 1
        source = box.shift([-s for s in step]).intersect(Box.of_shape(volume))
        values = read(source, slice(channel, channel + 1))[0]
        result[(axis, *source.shift(step).slices(box.start))] = quantise(values, f"{name}, box {source}")
    return result
