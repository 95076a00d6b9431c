"""Voxel sizes compared: those of two volumes must be the same, that of a network's training is named from 5 % on.

From 1.5 times on, a network is not used on an image unless the recipe insists.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .framed import TOLERANCE, Framed, unlike

NOTED = 1.05
REFUSED = 1.5


@dataclass(frozen=True)
class VoxelScale:
    """Compares the voxel size of a network's training with that of the image which it is given, nm, z, y, x.

    Args:
        network: its name, as the recipe has it.
        trained: size of its voxels.
        raw: path of the image.
        found: size of its voxels.
        accepted: the recipe says that the network is to be used whatever the sizes are.
    """

    network: str
    trained: tuple[float, float, float]
    raw: str
    found: tuple[float, float, float]
    accepted: bool

    @property
    def ratio(self) -> float:
        """Returns the factor between the two sizes along the axis where they differ most."""
        return round(largest_ratio(self.trained, self.found), 6)

    @property
    def note(self) -> str | None:
        """Says what a reader has to know where the sizes differ and the network is used all the same."""
        if self.ratio < NOTED or self.refusal is not None:
            return None
        return f"{self._sizes}. Expect more mistakes than the model's card states."

    @property
    def refusal(self) -> str | None:
        """Says why the network is not used on this image, with the cure; None where it is."""
        if self.ratio < REFUSED or self.accepted:
            return None
        return (
            f"{self._sizes}: it does not know membranes that look like this. If the metadata is wrong, state the right"
            " size as voxel_size under [input], in nm (z, y, x); otherwise resample the image, or"
            " take a network that was trained at its size (`petavox models` lists them). To use this one all the same,"
            " set model.accept_voxel_size = true."
        )

    @property
    def _sizes(self) -> str:
        trained, found = (" × ".join(f"{length:g}" for length in size) for size in (self.trained, self.found))
        axis = max(range(3), key=lambda i: largest_ratio(self.trained[i : i + 1], self.found[i : i + 1]))
        return (
            f"The network '{self.network}' was trained on voxels of {trained} nm (z, y, x); those of {self.raw} are"
            f" {found} nm, different by a factor of {self.ratio:.3g} along {'zyx'[axis]}"
        )


def largest_ratio(one: Sequence[float], other: Sequence[float]) -> float:
    """Compares two voxel sizes: how many times larger one is, along the axis where they differ most."""
    return max(max(a / b, b / a) for a, b in zip(one, other, strict=True))


def check_same_voxel_size(one: Framed, other: Framed) -> None:
    """Make sure that two volumes have voxels of one size.

    Raises:
        VolumeError: they differ by more than `TOLERANCE`; the message names both.
    """
    if largest_ratio(one.spec.voxel_size, other.spec.voxel_size) > 1 + TOLERANCE:
        raise unlike("voxel size, in nm", one, one.spec.voxel_size, other, other.spec.voxel_size)
