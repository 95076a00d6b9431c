"""Variation of information of a contingency table, and the CREMI score that joins it with the Rand error."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .contingency import Contingency, check_scorable
from .rand import sums_by


@dataclass(frozen=True)
class VariationOfInformation:
    """Holds two conditional entropies in bits; 0 is perfect.

    Args:
        split: H(segmentation | truth), grows with splits.
        merge: H(truth | segmentation), grows with mergers.
    """

    split: float
    merge: float


def variation_of_information(table: Contingency) -> VariationOfInformation:
    """Computes the variation of information (Meilă 2007) over the voxels inside truth objects; truth 0 is ignored.

    Voxels that the segmentation left unlabelled (segment 0) count as one segment, as in the script of the CREMI
    challenge; the adapted Rand error counts the same voxels as singletons.

    Raises:
        VolumeError: no voxel has a truth label.
    """
    check_scorable(table)
    joint = _entropy(table.voxels)
    return VariationOfInformation(
        split=max(0.0, joint - _entropy(sums_by(table.truth, table.voxels))),
        merge=max(0.0, joint - _entropy(sums_by(table.segment, table.voxels))),
    )


def cremi_score(information: VariationOfInformation, adapted_rand_error: float) -> float:
    """Returns the geometric mean of VOI and adapted Rand error, by which CREMI ranks; 0 is perfect."""
    return math.sqrt((information.split + information.merge) * adapted_rand_error)


def _entropy(voxels: npt.NDArray[np.int64]) -> float:
    """Entropy in bits of a partition into parts of so many voxels; summed exactly, so that the order is no matter."""
    parts = voxels.astype(np.float64)
    whole = float(voxels.sum())
    return math.log2(whole) - math.fsum(parts * np.log2(parts)) / whole
