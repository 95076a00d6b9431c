"""Plans the scoring of a segmentation: the config of its tables, checked before a label is read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ...pipeline.errors import RequestError, VolumeError
from ...pipeline.geometry import Box, Triple, triple
from ...pipeline.volumes import Volume, VolumeSpec, open_volume

if TYPE_CHECKING:
    from ...tasks import contingency


def plan_contingency(
    segmentation: str,
    spec: VolumeSpec,
    truth: str,
    *,
    block: Triple,
    tables: str = "",
    mask: str | None = None,
    offset: Sequence[int] | None = None,
    box: Box | None = None,
    tolerance: float | None = None,
) -> contingency.Config:
    """The config of the contingency tables, everything checked that can be before a label is read.

    Args:
        segmentation: path of the segmentation, which need not exist yet.
        spec: shape and type of the segmentation, which need not exist yet.
        truth, mask, offset, box, tolerance: see `evaluate_volumes`.
        block: shape of a block, voxels.
        tables: folder of the run's tables, if tables are to be written.

    Raises:
        VolumeError, RequestError: see `evaluate_volumes`.
    """
    from ...tasks import contingency

    true = open_volume(truth)
    _check_labels(segmentation, spec)
    _check_labels(truth, true.spec)
    _check_voxel_size(segmentation, spec, true)
    if mask is not None:
        _check_mask(true, open_volume(mask))
    if tolerance is not None and tolerance < 0:
        raise RequestError(f"A boundary tolerance is at least 0 nm; found {tolerance}.")
    place = _offset(spec, true) if offset is None else triple(offset)
    scored = _scored_box(segmentation, spec, true, place, box)
    return contingency.Config(
        volume=spec.shape,
        block=block,
        segmentation=segmentation,
        truth=truth,
        mask=mask,
        offset=place,
        start=scored.start,
        stop=scored.stop,
        tolerance=tolerance,
        tables=tables,
    )


def _check_labels(path: str, spec: VolumeSpec) -> None:
    if spec.channels is not None or not spec.dtype.startswith(("uint", "int", "bool")):
        channels = "" if spec.channels is None else f" with {spec.channels} channels"
        raise VolumeError(
            f"Labels are integers on axes z, y, x; {path} holds {spec.dtype}{channels}. Name a label volume."
        )


def _check_voxel_size(segmentation: str, spec: VolumeSpec, true: Volume) -> None:
    if any(abs(a - b) > 1e-6 * max(a, b) for a, b in zip(spec.voxel_size, true.spec.voxel_size, strict=True)):
        raise VolumeError(
            f"Segmentation and truth must have one voxel size; {segmentation} has {spec.voxel_size} nm (z, y, x), "
            f"{true.path} has {true.spec.voxel_size} nm. Resample the truth, or correct its metadata."
        )


def _check_mask(true: Volume, mask: Volume) -> None:
    if mask.spec.shape != true.spec.shape or mask.spec.channels is not None:
        raise VolumeError(
            f"The mask lies on the truth's frame; {mask.path} has shape {mask.spec.shape}, "
            f"{true.path} {true.spec.shape}. Crop both to the same box."
        )


def _offset(spec: VolumeSpec, true: Volume) -> Triple:
    """Where the truth begins in the segmentation, from the positions of both in nm."""
    positions = zip(true.spec.translation, spec.translation, spec.voxel_size, strict=True)
    steps = [(of_truth - of_segmentation) / size for of_truth, of_segmentation, size in positions]
    if any(abs(step - round(step)) > 1e-3 for step in steps):
        raise VolumeError(
            f"Truth and segmentation must share one grid of voxels; by its metadata {true.path} begins "
            f"{tuple(round(step, 3) for step in steps)} voxels (z, y, x) into the segmentation. Give the offset."
        )
    return triple([round(step) for step in steps])


def _scored_box(segmentation: str, spec: VolumeSpec, true: Volume, offset: Triple, box: Box | None) -> Box:
    whole, of_truth = Box.of_shape(spec.shape), Box.of_shape(true.spec.shape, offset)
    scored = of_truth if box is None else box
    if scored.is_empty or not (whole.contains(scored) and of_truth.contains(scored)):
        raise VolumeError(
            f"What is scored must lie inside the segmentation and inside the truth. {segmentation} is {whole}, "
            f"{true.path} at offset {offset} is {of_truth}, to be scored is {scored} (voxels z, y, x). "
            "Correct the offset, or give a box inside both."
        )
    return scored
