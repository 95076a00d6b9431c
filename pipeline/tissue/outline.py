"""From the structure of cells to a mask of tissue: one threshold for the whole volume, no specks, no holes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..errors import VolumeError
from .structure import NO_IMAGE

OCTAVES = 4
"""Structures are compared by their logarithms; those so many octaves below the strongest, or more, are one."""
LEVELS_AN_OCTAVE = 64
STRONGEST = 0.999
"""Share of the cells that have no more structure than the strongest that counts."""
APART = 4.0
"""Two sorts of cells are told apart where their means differ by so many of their standard deviations. One sort alone,
cut in two, has halves that differ by 2.7 where it is normally distributed, by 3.5 where it is evenly."""
LEAST = 1 / 64
"""Of the strongest structure: less is taken to be as much."""


@dataclass(frozen=True)
class Outline:
    """Says which cells of a volume are tissue.

    Args:
        inside: (Z, Y, X) bool.
        threshold: grey levels of structure from which on a cell counts; None where there was only one sort of cells,
            so that all that hold image count.
        share: of the cells, how many are inside.
    """

    inside: npt.NDArray[np.bool_]
    threshold: float | None
    share: float


def outline(structure: npt.NDArray[np.float32], threshold: float | None = None, smallest: float = 0.01) -> Outline:
    """Outline the tissue of a volume.

    1. Cells with structure from the threshold on are tissue.
    2. Pieces that hang together by faces and are smaller than a share of the largest one are dropped.
    3. What tissue encloses on all sides is tissue, too.

    Args:
        structure: of every cell of the volume, see `structure_of_cells`.
        threshold: grey levels; that of `tell_apart` over the whole volume unless given.
        smallest: share of the largest piece below which a piece is dropped.

    Raises:
        VolumeError: no cell holds image.
    """
    from scipy import ndimage

    image = structure != NO_IMAGE
    if not image.any():
        raise VolumeError("A mask outlines an image, and the volume holds none: only fill values, black or white.")
    found = tell_apart(structure[image]) if threshold is None else threshold
    inside = image if found is None else image & (structure >= found)
    pieces, count = ndimage.label(inside)
    sizes = np.bincount(pieces.ravel(), minlength=count + 1)
    sizes[0] = 0
    inside = (sizes >= max(1, smallest * sizes.max()))[pieces]
    inside = ndimage.binary_fill_holes(inside)
    return Outline(inside, found, float(inside.mean()))


def tell_apart(structure: npt.NDArray[np.float32]) -> float | None:
    """Finds the structure half way, in octaves, between typical cells of two sorts; None if there is one sort.

    Otsu's method, on the logarithm, says which cells are of which sort. Typical are their medians, so that it does not
    matter how many there are of each, nor how many lie across the border.

    Args:
        structure: (n,) of cells, at least 0.
    """
    strongest = float(np.quantile(structure, STRONGEST))
    if strongest <= 0:
        return None
    octaves = np.log2(np.clip(structure / strongest, 2.0**-OCTAVES, 1)) + OCTAVES
    levels = np.round(octaves * LEVELS_AN_OCTAVE).astype(np.int64)
    counts = np.bincount(levels, minlength=OCTAVES * LEVELS_AN_OCTAVE + 1).astype(np.float64)
    cut, apart = _otsu(counts)
    if apart < APART:
        return None
    few, much = (float(np.median(structure[sort])) for sort in (levels <= cut, levels > cut))
    return float(np.sqrt(max(few, LEAST * strongest) * much))


def _otsu(counts: npt.NDArray[np.float64]) -> tuple[int, float]:
    """Finds the last level of the lower of two sorts with the most variance between them.

    Returns it, and how many of the standard deviations inside them their means differ; 0 where all is on one level.
    """
    levels = np.arange(len(counts))
    below = np.cumsum(counts)[:-1]
    above = counts.sum() - below
    sums = np.cumsum(counts * levels)
    with np.errstate(divide="ignore", invalid="ignore"):
        distance = (sums[-1] - sums[:-1]) / above - sums[:-1] / below
    between = np.where((below > 0) & (above > 0), below * above * distance**2 / counts.sum(), 0.0)
    cut = int(between.argmax())
    if not between[cut]:
        return 0, 0.0
    inside = (counts * (levels - sums[-1] / counts.sum()) ** 2).sum() - between[cut]
    return cut, float(distance[cut] / np.sqrt(max(inside, 1e-9) / counts.sum()))
