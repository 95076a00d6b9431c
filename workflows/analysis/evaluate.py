"""Score a segmentation volume against truth, block by block."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ...pipeline.geometry import Box, Triple, triple
from ...pipeline.volumes import VolumeSource, VolumeSpec, label_survey, open_volume
from ..run_directory.layout import LEDGER
from ..stages.scoring import plan_contingency

if TYPE_CHECKING:
    from ...pipeline.evaluation.contingency import Contingency
    from ...pipeline.evaluation.scores import Scores

READING_BLOCK = 1 << 23  # voxels; about 350 MB while a block is counted


def evaluate_volumes(
    segmentation: str | Path,
    truth: str | Path | VolumeSource,
    *,
    mask: str | Path | VolumeSource | None = None,
    offset: Sequence[int] | None = None,
    box: Box | None = None,
    tolerance: float | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Scores:
    """Score a segmentation volume against a truth volume; memory is bounded by a block and the table of pairs.

    Args:
        segmentation: path or URL of the labels to score; 0 = unlabelled.
        truth: path or URL of the true labels, or with metadata that are laid over them; 0 is not scored. It may cover
            a part of the segmentation.
        mask: likewise of a volume on the truth's frame; where it is 0 nothing is looked at.
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
    from ...pipeline.evaluation.contingency import total
    from ...pipeline.evaluation.scores import score
    from ...tasks import contingency

    spec = open_volume(segmentation).spec
    config = plan_contingency(
        str(segmentation),
        spec,
        VolumeSource.of(truth),
        mask=None if mask is None else VolumeSource.of(mask),
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


def scoring_remarks(segmentation: str | Path, truth: str | Path | VolumeSource) -> tuple[str, ...]:
    """Words remarks on two volumes to be compared: one of them is an image, or they are the wrong way round.

    Raises:
        VolumeError: a volume is missing.
    """
    one, other = open_volume(segmentation), VolumeSource.of(truth).open()
    remarks = [*label_survey(one), *label_survey(other)]
    if _is_of_a_run(other.path) and not _is_of_a_run(one.path):
        remarks.append(
            f"{other.path} is the segmentation of a run, and is taken for the truth here. To score it, name it first:"
            f" petavox evaluate {other.path} {one.path}"
        )
    return tuple(remarks)


def _is_of_a_run(path: str) -> bool:
    return "://" not in path and (Path(path).parent / LEDGER).exists()


def _reading_block(spec: VolumeSpec) -> Triple:
    """Whole chunks, doubled along the shortest axis that is not covered yet up to READING_BLOCK."""
    block = list(spec.chunk)
    while True:
        short = [axis for axis in range(3) if block[axis] < spec.shape[axis]]
        if not short or block[0] * block[1] * block[2] * 2 > READING_BLOCK:
            return triple(block)
        block[min(short, key=lambda axis: block[axis])] *= 2
