"""Plans the scoring of a segmentation: the config of its tables, checked before a label is read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ...pipeline.errors import RequestError, VolumeError
from ...pipeline.geometry import Box, Triple, triple
from ...pipeline.volumes import (
    Planned,
    Volume,
    VolumeSource,
    VolumeSpec,
    check_mask,
    check_same_voxel_size,
    place_in,
)

if TYPE_CHECKING:
    from ...tasks import contingency


def plan_contingency(
    segmentation: str,
    spec: VolumeSpec,
    truth: VolumeSource,
    *,
    block: Triple,
    region: Box | None = None,
    tables: str = "",
    mask: VolumeSource | None = None,
    offset: Sequence[int] | None = None,
    box: Box | None = None,
    tolerance: float | None = None,
) -> contingency.Config:
    """Returns the config of the contingency tables, everything checked that can be before a label is read.

    Args:
        segmentation: path of the segmentation, which need not exist yet.
        spec: shape and type of the segmentation, which need not exist yet.
        truth, mask, offset, box, tolerance: see `evaluate_volumes`.
        block: shape of a block, voxels.
        region: the part of the volume that is segmented, if not all; where no box is given, the truth counts inside it.
        tables: folder of the run's tables, if tables are to be written.

    Raises:
        VolumeError, RequestError: see `evaluate_volumes`.
    """
    from ...tasks import contingency

    true = truth.open()
    _check_labels(segmentation, spec)
    _check_labels(true.path, true.spec)
    _check_whole(true)
    scored_volume = Planned(segmentation, spec)
    check_same_voxel_size(scored_volume, true)
    if mask is not None:
        check_mask(mask.open(), true)
    if tolerance is not None and tolerance < 0:
        raise RequestError(f"A boundary tolerance is at least 0 nm; found {tolerance}.")
    place = place_in(true, scored_volume) if offset is None else triple(offset)
    scored = _scored_box(segmentation, spec, region, true, place, box)
    return contingency.Config(
        volume=spec.shape,
        block=block,
        region=region,
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
    if spec.channels is not None:
        raise VolumeError(
            f"Labels are integers on axes z, y, x; {path} holds {spec.dtype} with {spec.channels} channels. "
            "Name a label volume."
        )


def _check_whole(true: Volume) -> None:
    """Looks at the middle of labels that are floats, before a run has done all that is scored by them."""
    from ...pipeline.labels import object_ids

    if true.spec.dtype.startswith("float"):
        start = triple([n // 2 - n // 2 % c for n, c in zip(true.spec.shape, true.spec.chunk, strict=True)])
        middle = Box.of_shape(true.spec.chunk, start).intersect(true.spec.box)
        object_ids(true.read(middle), f"truth {true.path}")


def _scored_box(
    segmentation: str, spec: VolumeSpec, region: Box | None, true: Volume, offset: Triple, box: Box | None
) -> Box:
    segmented, of_truth = region or Box.of_shape(spec.shape), Box.of_shape(true.spec.shape, offset)
    everything = of_truth if region is None else of_truth.intersect(region)
    scored = everything if box is None else box
    if scored.is_empty or not (segmented.contains(scored) and of_truth.contains(scored)):
        raise VolumeError(
            f"What is scored must lie inside the segmentation and inside the truth. {segmentation} is {segmented}, "
            f"{true.path} at offset {offset} is {of_truth}, to be scored is {scored} (voxels z, y, x). "
            "Correct the offset, or give a box inside both."
        )
    return scored
