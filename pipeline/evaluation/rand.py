"""The adapted Rand error of a contingency table, in the convention of the SNEMI3D challenge, in exact integers."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import numpy.typing as npt

from .contingency import Contingency, check_scorable


@dataclass(frozen=True)
class AdaptedRand:
    """Holds the adapted Rand error and the two rates that it is made of, all in [0, 1].

    Args:
        error: 1 − 2 · precision · recall / (precision + recall); 0 is perfect.
        precision: share of the voxel pairs joined by the segmentation that the truth joins; falls with mergers.
        recall: share of the voxel pairs joined by the truth that the segmentation joins; falls with splits.
    """

    error: float
    precision: float
    recall: float


def adapted_rand(table: Contingency) -> AdaptedRand:
    """Computes the adapted Rand error (Arganda-Carreras et al. 2015) as the SNEMI3D challenge computes it.

    Only voxels inside truth objects count. Those left unlabelled by the segmentation (segment 0) count as singletons:
    in the challenge's script each adds 1/n to the joined pairs, n being all voxels looked at, truth background
    included. Sums of squares are integers of any size, and each result is one correctly rounded division.

    Raises:
        VolumeError: no voxel has a truth label.
    """
    check_scorable(table)
    labelled = table.segment != 0
    singletons = Fraction(int(table.voxels[~labelled].sum()), table.scored)
    both = sum_of_squares(table.voxels[labelled]) + singletons
    in_truth = sum_of_squares(sums_by(table.truth, table.voxels))
    in_segments = sum_of_squares(sums_by(table.segment[labelled], table.voxels[labelled])) + singletons
    return AdaptedRand(
        error=float(1 - 2 * both / (in_truth + in_segments)),
        precision=float(both / in_segments),
        recall=float(both / in_truth),
    )


def sums_by(ids: npt.NDArray[np.uint64], voxels: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Returns voxels of each id, in the order of the ids."""
    order = np.argsort(ids, kind="stable")
    grouped = ids[order]
    heads = np.flatnonzero(np.r_[True, grouped[1:] != grouped[:-1]][: len(grouped)])
    return np.add.reduceat(voxels[order], heads) if len(heads) else voxels[:0]


def sum_of_squares(counts: npt.NDArray[np.int64]) -> int:
    """Returns Σ counts², exact at any size: in 64 bits where it surely fits, in integers without bound elsewhere."""
    if len(counts) == 0:
        return 0
    if int(counts.max()) * int(counts.sum()) < 2**63:
        return int(np.dot(counts, counts))
    return sum(value * value for value in counts.tolist())
