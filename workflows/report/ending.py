"""The end of a run: what it left, what failed, and both in a few lines of text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ...cluster.quantities import duration
from ..run_directory.ledger_schema import Summary

if TYPE_CHECKING:
    from ...pipeline.evaluation.scores import Scores


LARGE = 512
"""Voxels from which on a segment is counted by itself: smaller ones are mostly crumbs along membranes."""


@dataclass(frozen=True)
class Ending:
    """Describes how a run ended.

    Args:
        directory: directory of the run.
        failed: tasks that were set aside.
        blocked: tasks that were not run because they need one of those.
        failures: one line for each of the first that were set aside.
        stages: summary of each stage in the ledger.
        seconds: time that the run was at work, all sessions together.
        this_time: of these, seconds of the session that has just ended.
        segment_sizes: numbers of segments with 1, 2–3, 4–7, … voxels; empty where nothing was segmented.
        segmentation, affinities: paths of these volumes, where the run has them.
        scores: if there is a truth, and nothing failed.
    """

    directory: Path
    failed: int
    blocked: int
    failures: tuple[str, ...]
    stages: tuple[Summary, ...]
    seconds: float
    segmentation: str | None
    affinities: str | None
    scores: Scores | None
    this_time: float = 0.0
    segment_sizes: tuple[int, ...] = ()

    @property
    def report(self) -> Path:
        """Returns the page of the run."""
        return self.directory / "report.html"

    @property
    def exit_status(self) -> int:
        return 1 if self.failed else 0


def segments_text(sizes: Sequence[int]) -> str:
    """Words how many segments there are: those of `LARGE` voxels or more, and all.

    Args:
        sizes: numbers of segments with 1, 2–3, 4–7, … voxels.
    """
    return f"{sum(sizes[LARGE.bit_length() - 1 :]):,} of {LARGE} voxels or more, {sum(sizes):,} with crumbs"


def ending_text(ending: Ending, again: str) -> str:
    """Returns the end of a run in a few lines: what failed, or where the results are."""
    made = {"affinities": ending.affinities} if ending.segmentation is None else {"segmentation": ending.segmentation}
    places = [f"{name:14}{path}" for name, path in {**made, "report": ending.report}.items()]
    if not ending.failed:
        in_all = f" ({duration(ending.seconds)} in all)" if ending.seconds > ending.this_time + 1 else ""
        counted = [f"{'segments':14}{segments_text(ending.segment_sizes)}"] if ending.segment_sizes else []
        return "\n".join([f"Done in {duration(ending.this_time)}{in_all}.", *counted, *places])
    more = [f"  and {ending.failed - len(ending.failures)} more"] if ending.failed > len(ending.failures) else []
    return "\n".join(
        [
            f"{ending.failed} tasks failed; {ending.blocked} that need them were not run; the rest is done.",
            *(f"  {line}" for line in ending.failures),
            *more,
            f"Tracebacks are in {ending.directory / 'log.txt'}. To try them again: {again}",
            *places,
        ]
    )
