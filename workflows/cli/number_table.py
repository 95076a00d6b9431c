"""The table that people are shown: a name in the first column, figures to the right of it."""

from __future__ import annotations

from rich.table import Table


def number_table(*columns: str, padding: int = 1, unbroken: int = 0) -> Table:
    """Makes a table without lines, its first column to the left, all others to the right.

    Args:
        columns: their headings.
        padding: spaces between two columns.
        unbroken: how many of the first columns are cut rather than broken where the terminal is narrow.
    """
    table = Table(box=None, pad_edge=False, padding=(0, padding, 0, 0))
    for place, heading in enumerate(columns):
        justify, whole = "right" if place else "left", place < unbroken
        table.add_column(heading, justify=justify, no_wrap=whole, overflow="fold")  # type: ignore[arg-type]
    return table
