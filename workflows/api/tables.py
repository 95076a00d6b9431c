"""Tables that a notebook shows as HTML and a terminal as text; their values stay numbers."""

from __future__ import annotations

import html
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Columns = Mapping[str, Callable[[Any], str]]  # name, and what makes text of a value


@dataclass(frozen=True)
class Table:
    """Holds rows of values with named columns.

    `table["name"]` is a column, `table[0]` a row as a dict; `list(table)` is what `pandas.DataFrame` takes.

    Args:
        columns: each name with the function that makes text of a value.
        rows: a value for each column.
    """

    columns: Columns
    rows: tuple[tuple[Any, ...], ...]

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return (dict(zip(self.columns, row, strict=True)) for row in self.rows)

    def __getitem__(self, key: str | int) -> Any:
        if isinstance(key, str):
            column = list(self.columns).index(key) if key in self.columns else None
            if column is None:
                raise KeyError(f"The columns are {', '.join(self.columns)}; found {key!r}.")
            return [row[column] for row in self.rows]
        return dict(zip(self.columns, self.rows[key], strict=True))

    def __repr__(self) -> str:
        lines = [list(self.columns), *self._texts()]
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        first, *others = widths
        return "\n".join(
            "  ".join([line[0].ljust(first), *(t.rjust(w) for t, w in zip(line[1:], others, strict=True))]).rstrip()
            for line in lines
        )

    def _repr_html_(self) -> str:
        head = "".join(f"<th>{html.escape(name)}</th>" for name in self.columns)
        rows = ("".join(f"<td>{html.escape(text)}</td>" for text in texts) for texts in self._texts())
        body = "".join(f"<tr>{row}</tr>" for row in rows)
        return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"

    def _texts(self) -> list[list[str]]:
        return [[text(v) for text, v in zip(self.columns.values(), row, strict=True)] for row in self.rows]


class Shown:
    """Shows itself in a notebook as paragraphs and tables, and in a terminal as text."""

    def parts(self) -> Iterable[str | Table]:
        """Returns the paragraphs and tables, in order."""
        raise NotImplementedError

    def __repr__(self) -> str:
        return "\n\n".join(part if isinstance(part, str) else repr(part) for part in self.parts())

    def _repr_html_(self) -> str:
        return "".join(_paragraph(part) if isinstance(part, str) else part._repr_html_() for part in self.parts())


def _paragraph(text: str) -> str:
    return f"<p>{html.escape(text).replace(chr(10), '<br>')}</p>"


def count(value: int) -> str:
    """Writes 1234567 as "1,234,567"."""
    return f"{value:,}"


def by(lengths: Sequence[float]) -> str:
    """Writes (30, 6, 6) as "30 × 6 × 6"."""
    return " × ".join(f"{length:g}" for length in lengths)
