"""`petavox.evaluate`: the scores of a segmentation, of arrays as of volumes."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy.typing as npt

from ...pipeline.errors import RequestError
from .volumes import Volume, VolumePath, as_box

if TYPE_CHECKING:
    from ...pipeline.evaluation import Scores
    from ...pipeline.geometry import Box

Labels = Volume | VolumePath | npt.NDArray[Any]


def evaluate(
    segmentation: Labels,
    truth: Labels,
    *,
    mask: Labels | None = None,
    tolerance: float | None = None,
    offset: Sequence[int] | None = None,
    box: Box | Sequence[Sequence[int]] | None = None,
    voxel_size: Sequence[float] | None = None,
    connected_components: bool = False,
) -> Scores:
    """Scores a segmentation against true labels: arrays in memory, or volumes block by block.

        >>> run = petavox.open_run("runs/recipe")
        >>> scores = petavox.evaluate(run.segmentation, "labels.zarr")
        >>> same = petavox.evaluate(run.segmentation[:], petavox.open("labels.zarr")[:])
        >>> scores == same
        True
        >>> scores.adapted_rand_error < 0.5
        True

    Args:
        segmentation: (Z, Y, X) labels, an array or a volume; 0 is unlabelled.
        truth: likewise an array, or likewise a volume; 0 is not scored.
        mask: likewise; where it is 0 nothing is looked at.
        tolerance: nm; truth voxels this close to a boundary in the same section are not scored.
        offset: of volumes: where the truth's first voxel lies in the segmentation, voxels z, y, x; from the metadata of
            both unless given.
        box: of volumes: first voxel (z, y, x) and end (exclusive) of the part to score; all of the truth unless given.
        voxel_size: of arrays: nm, z y x; needed with a tolerance.
        connected_components: of arrays: tell apart the pieces of a truth object that are not connected.

    Raises:
        VolumeError: shapes or voxel sizes do not fit, there are no labels, or nothing has a truth label.
        RequestError: an array is given together with a volume, or an argument belongs to the other.
    """
    given = [labels for labels in (segmentation, truth, mask) if labels is not None]
    stored = [isinstance(labels, str | os.PathLike) for labels in given]
    if any(stored) != all(stored):
        raise RequestError(
            "Arrays are scored with arrays, and volumes with volumes; found both. volume[:] is the array of a volume."
        )
    if not any(stored):
        from ...pipeline.evaluation import evaluate as evaluate_arrays

        _refuse("volumes", "volume[…] is a part of one", offset=offset, box=box)
        return evaluate_arrays(
            segmentation,  # type: ignore[arg-type]
            truth,  # type: ignore[arg-type]
            mask=mask,  # type: ignore[arg-type]
            tolerance=tolerance,
            voxel_size=voxel_size,
            connected_components=connected_components,
        )
    from ..analysis.evaluate import evaluate_volumes

    _refuse("arrays", "give volume[:]", voxel_size=voxel_size, connected_components=connected_components or None)
    paths = [None if labels is None else os.fspath(labels) for labels in (segmentation, truth, mask)]  # type: ignore[arg-type]
    return evaluate_volumes(
        str(paths[0]), str(paths[1]), mask=paths[2], offset=offset, box=as_box(box), tolerance=tolerance
    )


def _refuse(belongs_to: str, cure: str, **arguments: Any) -> None:
    for name, value in arguments.items():
        if value is not None:
            raise RequestError(f"'{name}' belongs to the scores of {belongs_to}: {cure}.")
