"""Prints the result of `petavox tune`: the best trials, and the scores of the chosen one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from ..analysis.tuning_results import SCORES, ends_of, linkage_name

if TYPE_CHECKING:
    from decimal import Decimal

    from rich.console import RenderableType

    from ..analysis.tune import Trial, Tuning

SHOWN = 10


def tuning_table(tuning: Tuning) -> RenderableType:
    """Lays out the best trials, the scores of the chosen one, and a warning where the choice lies at an end."""
    from rich.console import Group
    from rich.table import Table

    best = Table(*_COLUMNS, "error", "split", "merge", box=None, pad_edge=False)
    for trial in sorted(tuning.trials, key=lambda trial: trial.rank)[:SHOWN]:
        scores = (f"{value:.4f}" for value in (trial.adapted_rand_error, trial.voi_split, trial.voi_merge))
        best.add_row(*_settings(trial), *scores)
    parts = Table("the first of them", "voxels", "error", "split", "merge", box=None, pad_edge=False)
    for number, part in enumerate(tuning.parts):
        role = " (chose)" if number == 0 else " (held out)" if number == 1 else ""
        found = [getattr(part.scores, name, None) for name in SCORES[:3]]
        parts.add_row(f"{part.name}{role}", str(part.box), *("–" if s is None else f"{s:.4f}" for s in found))
    heading = f"The best of {len(tuning.trials):,}, by the {tuning.parts[0].name}:"
    legend = "error: adapted Rand error; split, merge: the two halves of the variation of information, bits"
    return Group(heading, "", best, "", parts, "", legend, *_warnings(tuning))


_COLUMNS = ("low", "high", "join", "linkage", "threshold", "small", "veto")


def _settings(trial: Trial) -> tuple[str, ...]:
    supervoxels, agglomeration = trial.supervoxels, trial.agglomeration
    return (
        str(supervoxels.low),
        str(supervoxels.high),
        _by_size(supervoxels.join_size, supervoxels.join_affinity),
        linkage_name(agglomeration),
        str(agglomeration.threshold),
        _by_size(agglomeration.small_size, agglomeration.small_threshold),
        _by_size(agglomeration.veto_size, agglomeration.veto_threshold),
    )


def _by_size(size: int, threshold: Decimal) -> str:
    return f"{size}, {threshold}" if size else "–"


def _warnings(tuning: Tuning) -> Iterator[str]:
    for name in ends_of(tuning):
        yield f"The chosen {name} is the first or the last that was tried: --try '{name}=[…]' tries others."
    if len(tuning.parts) == 1:
        yield "These labels have chosen and say nothing about others: cut the box with --split."
