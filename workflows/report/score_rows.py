"""Scores and the largest mistakes as rows of text, for the report and the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ...pipeline.evaluation.scores import Scores


UNKNOWN = "of the truth, labelled below 0 or with a largest id (−1, 2⁶⁴−1); not scored"


def score_rows(scores: Scores) -> list[tuple[str, str, str]]:
    """Returns (name, value, what it tells) of each score."""
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
    """Returns rows of the largest splits and mergers by their title; the first row names the columns."""
    splits: list[tuple[str, ...]] = [("true object", "mainly segment", "piece in segment", "voxels", "at z, y, x")]
    mergers: list[tuple[str, ...]] = [("segment", "mainly object", "piece of object", "voxels", "at z, y, x")]
    for split in scores.splits:
        ids = str(split.truth), str(split.segment), str(split.piece)
        splits.append((*ids, f"{split.voxels:,}", ", ".join(map(str, split.voxel))))
    for merger in scores.mergers:
        ids = str(merger.segment), str(merger.truth), str(merger.piece)
        mergers.append((*ids, f"{merger.voxels:,}", ", ".join(map(str, merger.voxel))))
    return {"Largest splits": splits, "Largest mergers": mergers}
