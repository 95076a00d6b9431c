"""Prints the end of a run and the verdict of `petavox verify`: tables for people, plain values for `--json`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.console import Group, RenderableType

from ..report.ending import LARGE
from .number_table import number_table

if TYPE_CHECKING:
    from ..report.ending import Ending
    from ..runs.verify import Difference, Verdict


def ending_json(ending: Ending) -> dict[str, Any]:
    """Returns the end of a run as plain values."""
    return {
        "directory": str(ending.directory),
        "exit_status": ending.exit_status,
        "failed": ending.failed,
        "blocked": ending.blocked,
        "failures": list(ending.failures),
        "seconds": ending.seconds,
        "seconds_this_time": ending.this_time,
        "segments": sum(ending.segment_sizes),
        f"segments_of_{LARGE}_voxels_or_more": sum(ending.segment_sizes[LARGE.bit_length() - 1 :]),
        "segmentation": ending.segmentation,
        "affinities": ending.affinities,
        "report": str(ending.report),
        "stages": [vars(summary) for summary in ending.stages],
        "scores": None if ending.scores is None else ending.scores.to_json(),
    }


def verdict_table(verdict: Verdict) -> RenderableType:
    """Lays out how each way to cut a volume differs from the reference."""
    table = number_table("blocks", "tasks", "seconds", "segments", "supervoxels")
    for recut in verdict.recuts:
        differences = [_difference(found) for found in (recut.segments, recut.supervoxels)]
        table.add_row(str(list(recut.block)), f"{recut.tasks:,}", f"{recut.seconds:.1f}", *differences)
    return Group(f"Voxels {verdict.box}, compared with {verdict.reference}:", "", table)


def verdict_json(verdict: Verdict) -> dict[str, Any]:
    """Returns the verdict of `petavox verify` as plain values."""
    return {
        "identical": verdict.identical,
        "box": [list(verdict.box.start), list(verdict.box.stop)],
        "reference": verdict.reference,
        "recuts": [
            {
                "block": list(recut.block),
                "tasks": recut.tasks,
                "seconds": recut.seconds,
                "segments": vars(recut.segments),
                "supervoxels": vars(recut.supervoxels),
            }
            for recut in verdict.recuts
        ],
    }


def _difference(found: Difference) -> str:
    if not found.voxels:
        return "identical"
    return f"{found.voxels:,} voxels differ, the first at {', '.join(map(str, found.first or ()))}"
