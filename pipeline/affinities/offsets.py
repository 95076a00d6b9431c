"""Defines the voxel pairs that a network judges: the offsets of the affinity channels, and the checks on them."""

from __future__ import annotations

from collections.abc import Sequence

from ..errors import AffinityError
from ..geometry import Triple, triple

Offsets = tuple[Triple, ...]

NEAREST: Offsets = ((1, 0, 0), (0, 1, 0), (0, 0, 1))
"""Offsets of the three channels that segmentation uses, in voxels z, y, x."""

LONG_RANGE: Offsets = (
    *NEAREST,
    *((2, 0, 0), (0, 3, 0), (0, 0, 3)),
    *((3, 0, 0), (0, 9, 0), (0, 0, 9)),
    *((4, 0, 0), (0, 27, 0), (0, 0, 27)),
)
"""The twelve offsets of Lee et al. 2017 (arXiv 1706.00120), nearest first; all but the first three are an auxiliary
task."""


def check_offsets(found: Sequence[Sequence[int]], needed: Offsets = NEAREST) -> Offsets:
    """Returns the offsets as triples, once they are known to begin with the needed ones.

    Affinity channel c at voxel p belongs to the edge between p and p − offset[c].

    Raises:
        AffinityError: an offset is missing, in another place, or has another sign.
    """
    offsets = tuple(triple(offset) for offset in found)
    if offsets[: len(needed)] != needed:
        raise AffinityError(
            f"The first affinity channels must have the offsets {list(needed)} (z, y, x, in voxels), found "
            f"{list(offsets[: len(needed)])}. Reorder the channels, or use a checkpoint made for these offsets."
        )
    return offsets
