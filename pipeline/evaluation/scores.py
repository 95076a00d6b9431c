"""All scores of a segmentation against truth, from one contingency table or from two arrays in memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import RequestError
from ..geometry import Box, triple
from ..labels import object_ids, unknown_voxels
from .boundaries import ignore_boundaries
from .components import separate_components
from .contingency import Contingency, Mask, check_scorable, count
from .information import cremi_score, variation_of_information
from .mistakes import Merger, Split, largest_mergers, largest_splits
from .rand import adapted_rand


@dataclass(frozen=True)
class Scores:
    """Holds the scores of a segmentation. Errors are 0 when perfect.

    Args:
        adapted_rand_error: SNEMI3D convention: truth 0 ignored, unlabelled voxels inside truth are singletons.
        precision: precision of the Rand index; falls with mergers.
        recall: recall of the Rand index; falls with splits.
        voi_split: H(segmentation | truth) in bits; truth 0 ignored, unlabelled voxels are one segment.
        voi_merge: H(truth | segmentation) in bits.
        cremi_score: sqrt((voi_split + voi_merge) · adapted_rand_error).
        voxels: voxels looked at (inside the mask), truth 0 included.
        truth_voxels: voxels inside truth objects; all errors are about these.
        unlabelled_voxels: truth voxels that the segmentation left unlabelled.
        truth_objects: truth objects in the scored box.
        segments: segments that touch a truth object.
        unknown_voxels: voxels whose truth is marked as unknown, below 0 or by one of the largest ids; not scored.
        splits: the largest splits.
        mergers: the largest mergers.
    """

    adapted_rand_error: float
    precision: float
    recall: float
    voi_split: float
    voi_merge: float
    cremi_score: float
    voxels: int
    truth_voxels: int
    unlabelled_voxels: int
    truth_objects: int
    segments: int
    splits: tuple[Split, ...]
    mergers: tuple[Merger, ...]
    unknown_voxels: int = 0

    def to_json(self) -> dict[str, Any]:
        """Returns the scores as json.dump takes them: keys as the fields, places and boxes as lists z, y, x."""
        return asdict(self)

    def _repr_html_(self) -> str:
        """Shows the scores, without single mistakes, in a notebook."""
        numbers = {name: value for name, value in asdict(self).items() if isinstance(value, int | float)}
        texts = {name: f"{value:,}" if isinstance(value, int) else f"{value:.4f}" for name, value in numbers.items()}
        rows = (f"<tr><td>{name.replace('_', ' ')}</td><td>{text}</td></tr>" for name, text in texts.items())
        return f"<table>{''.join(rows)}</table>"

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Scores:
        """Returns the inverse of to_json."""
        splits = tuple(Split(**_place(entry)) for entry in values["splits"])
        mergers = tuple(Merger(**_place(entry)) for entry in values["mergers"])
        return cls(**{**values, "splits": splits, "mergers": mergers})


def score(table: Contingency) -> Scores:
    """Computes every score of a contingency table.

    Raises:
        VolumeError: no voxel has a truth label.
    """
    check_scorable(table)
    rand = adapted_rand(table)
    information = variation_of_information(table)
    labelled = table.segment != 0
    return Scores(
        adapted_rand_error=rand.error,
        precision=rand.precision,
        recall=rand.recall,
        voi_split=information.split,
        voi_merge=information.merge,
        cremi_score=cremi_score(information, rand.error),
        voxels=table.scored,
        truth_voxels=int(table.voxels.sum()),
        unlabelled_voxels=int(table.voxels[~labelled].sum()),
        truth_objects=len(np.unique(table.truth)),
        segments=len(np.unique(table.segment[labelled])),
        splits=largest_splits(table),
        mergers=largest_mergers(table),
        unknown_voxels=table.unknown,
    )


def evaluate(
    segmentation: npt.NDArray[np.integer],
    truth: npt.NDArray[np.integer],
    *,
    mask: Mask | None = None,
    tolerance: float | None = None,
    voxel_size: Sequence[float] | None = None,
    connected_components: bool = False,
) -> Scores:
    """Score a segmentation in memory; the numbers are those of the blockwise evaluation of the same box.

    Args:
        segmentation: (Z, Y, X) labels of any integer type; 0 = unlabelled.
        truth: the same shape; 0, labels below 0 and the largest ids, which mark what is unknown, are not scored.
        mask: the same shape; voxels where it is False (or 0) are left out.
        tolerance: nm; truth voxels this close to a boundary in the same section are not scored. None scores all.
        voxel_size: nm, z y x; needed with a tolerance.
        connected_components: tell apart the pieces of a truth object that are not connected inside the box. The box
            is needed as a whole for that, so the blockwise evaluation does not offer it.

    Raises:
        VolumeError: shapes differ, labels are not whole numbers, or nothing has a truth label.
        RequestError: a tolerance without a voxel size.
    """
    if tolerance is not None and voxel_size is None:
        raise RequestError(f"A boundary tolerance ({tolerance} nm) needs voxel_size=(z, y, x) in nm; none is given.")
    unknown, truth = unknown_voxels(truth, mask), object_ids(truth, "truth")
    if connected_components:
        truth = separate_components(truth)
    if tolerance is not None and voxel_size is not None:
        truth = ignore_boundaries(truth, tolerance, voxel_size)
    return score(replace(count(truth, segmentation, mask=mask), unknown=unknown))


def _place(entry: Mapping[str, Any]) -> dict[str, Any]:
    box = Box(triple(entry["box"]["start"]), triple(entry["box"]["stop"]))
    return {**entry, "voxel": triple(entry["voxel"]), "box": box}
