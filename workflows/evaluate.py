"""Score a segmentation volume against truth, block by block, and show the scores."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..pipeline.errors import RequestError, VolumeError
from ..pipeline.geometry import Box, Triple, triple
from ..pipeline.volumes import Volume, VolumeSpec, open_volume

if TYPE_CHECKING:
    from rich.console import RenderableType

    from ..pipeline.evaluation.contingency import Contingency
    from ..pipeline.evaluation.scores import Scores
    from ..tasks import contingency

UNKNOWN = "of the truth, labelled below 0 or with a largest id (−1, 2⁶⁴−1); not scored"
READING_BLOCK = 1 << 23  # voxels; about 350 MB while a block is counted


def evaluate_volumes(
    segmentation: str | Path,
    truth: str | Path,
    *,
    mask: str | Path | None = None,
    offset: Sequence[int] | None = None,
    box: Box | None = None,
    tolerance: float | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Scores:
    """Score a segmentation volume against a truth volume; memory is bounded by a block and the table of pairs.

    Args:
        segmentation: path or URL of the labels to score; 0 = unlabelled.
        truth: path or URL of the true labels; 0 is not scored. It may cover a part of the segmentation.
        mask: path or URL of a volume on the truth's frame; where it is 0 nothing is looked at.
        offset: where the truth's first voxel lies in the segmentation, voxels z, y, x; from the positions in the
            metadata of both unless given.
        box: the part to score, in voxels of the segmentation; all of the truth unless given.
        tolerance: nm; truth voxels this close to a boundary in the same section are not scored.
        progress: called with (blocks done, blocks in all).

    Raises:
        VolumeError: a volume is missing or holds no labels, voxel sizes differ, the truth does not lie inside the
            segmentation, or nothing has a truth label.
        RequestError: the box or the tolerance makes no sense.
    """
    from ..pipeline.evaluation.contingency import total
    from ..pipeline.evaluation.scores import score
    from ..tasks import contingency

    spec = open_volume(segmentation).spec
    config = plan_contingency(
        str(segmentation),
        spec,
        str(truth),
        mask=None if mask is None else str(mask),
        offset=offset,
        box=box,
        tolerance=tolerance,
        block=_reading_block(spec),
    )
    indices = list(contingency.blocks(config))

    def counted() -> Iterator[Contingency]:
        for done, index in enumerate(indices, 1):
            yield contingency.count_block(config, index)
            if progress is not None:
                progress(done, len(indices))

    return score(total(counted()))


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
        spec: what it is, or will be.
        truth, mask, offset, box, tolerance: see `evaluate_volumes`.
        block: shape of a block, voxels.
        tables: folder of the run's tables, if tables are to be written.

    Raises:
        VolumeError, RequestError: see `evaluate_volumes`.
    """
    from ..tasks import contingency

    true = open_volume(truth)
    _check_labels(segmentation, spec)
    _check_labels(truth, true.spec)
    _check_whole(true)
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


def scores_table(scores: Scores) -> RenderableType:
    """The scores, and the ten largest splits and mergers, as rich prints them on a terminal."""
    from rich.console import Group
    from rich.table import Table

    summary = Table("score", "value", "0 is perfect, but for precision and recall", box=None, pad_edge=False)
    for name, value, note in score_rows(scores):
        summary.add_row(name, value, note)
    parts: list[RenderableType] = [summary]
    for title, mistakes in mistake_tables(scores).items():
        table = Table(title=title, title_justify="left", box=None, pad_edge=False)
        for column in mistakes[0]:
            table.add_column(column, justify="right")
        for row in mistakes[1:]:
            table.add_row(*row)
        parts += ["", table if len(mistakes) > 1 else f"{title}: none"]
    return Group(*parts)


def score_rows(scores: Scores) -> list[tuple[str, str, str]]:
    """(name, value, what it tells) of each score."""
    unlabelled = scores.unlabelled_voxels / scores.truth_voxels
    return [
        (
            "adapted Rand error",
            f"{scores.adapted_rand_error:.4f}",
            "SNEMI3D convention: unlabelled voxels are singletons",
        ),
        ("precision", f"{scores.precision:.4f}", "1 is perfect; falls with mergers"),
        ("recall", f"{scores.recall:.4f}", "1 is perfect; falls with splits"),
        ("VOI split", f"{scores.voi_split:.4f}", "bits; unlabelled voxels are one segment"),
        ("VOI merge", f"{scores.voi_merge:.4f}", "bits"),
        ("CREMI score", f"{scores.cremi_score:.4f}", "√((VOI split + VOI merge) · adapted Rand error)"),
        (
            "truth voxels",
            f"{scores.truth_voxels:,}",
            f"in {scores.truth_objects:,} objects; {unlabelled:.2%} unlabelled",
        ),
        ("segments", f"{scores.segments:,}", "that touch a truth object"),
        *([("unknown voxels", f"{scores.unknown_voxels:,}", UNKNOWN)] if scores.unknown_voxels else []),
    ]


def mistake_tables(scores: Scores) -> dict[str, list[tuple[str, ...]]]:
    """Title → rows of the largest splits and mergers; the first row names the columns."""
    splits: list[tuple[str, ...]] = [("true object", "mainly segment", "piece in segment", "voxels", "at z, y, x")]
    mergers: list[tuple[str, ...]] = [("segment", "mainly object", "piece of object", "voxels", "at z, y, x")]
    for split in scores.splits:
        ids = str(split.truth), str(split.segment), str(split.piece)
        splits.append((*ids, f"{split.voxels:,}", ", ".join(map(str, split.voxel))))
    for merger in scores.mergers:
        ids = str(merger.segment), str(merger.truth), str(merger.piece)
        mergers.append((*ids, f"{merger.voxels:,}", ", ".join(map(str, merger.voxel))))
    return {"Largest splits": splits, "Largest mergers": mergers}


def _reading_block(spec: VolumeSpec) -> Triple:
    """Whole chunks, doubled along the shortest axis that is not covered yet up to READING_BLOCK."""
    block = list(spec.chunk)
    while True:
        short = [axis for axis in range(3) if block[axis] < spec.shape[axis]]
        if not short or block[0] * block[1] * block[2] * 2 > READING_BLOCK:
            return triple(block)
        block[min(short, key=lambda axis: block[axis])] *= 2


def _check_labels(path: str, spec: VolumeSpec) -> None:
    if spec.channels is not None:
        raise VolumeError(
            f"Labels are integers on axes z, y, x; {path} holds {spec.dtype} with {spec.channels} channels. "
            "Name a label volume."
        )


def _check_whole(true: Volume) -> None:
    """Look at the middle of labels that are floats, before a run has done all that is scored by them."""
    from ..pipeline.labels import object_ids

    if true.spec.dtype.startswith("float"):
        start = triple([n // 2 - n // 2 % c for n, c in zip(true.spec.shape, true.spec.chunk, strict=True)])
        middle = Box.of_shape(true.spec.chunk, start).intersect(true.spec.box)
        object_ids(true.read(middle), f"truth {true.path}")


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
