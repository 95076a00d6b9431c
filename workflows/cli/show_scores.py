"""Scores as `petavox evaluate`, `run` and `demo` print them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..report.score_rows import mistake_tables, score_rows

if TYPE_CHECKING:
    from rich.console import RenderableType

    from ...pipeline.evaluation.scores import Scores


def scores_table(scores: Scores) -> RenderableType:
    """Lays out the scores, and the ten largest splits and mergers, as rich prints them on a terminal."""
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
