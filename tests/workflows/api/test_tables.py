"""A table keeps numbers as numbers, and shows them as text in a terminal and as HTML in a notebook."""

from __future__ import annotations

import pytest

from petavox.workflows.api.tables import Shown, Table, by, count

TABLE = Table({"stage": str, "tasks": count, "shape": by}, (("predict <1>", 12345, (2, 3)), ("relabel", 1, (4.5,))))


class Page(Shown):
    def parts(self):
        return ("a < b\nc", TABLE)


def test_rows_and_columns_are_values():
    assert TABLE["tasks"] == [12345, 1]
    assert TABLE[1] == {"stage": "relabel", "tasks": 1, "shape": (4.5,)}
    assert list(TABLE) == [TABLE[0], TABLE[1]]
    assert len(TABLE) == 2


def test_an_unknown_column_names_the_known_ones():
    with pytest.raises(KeyError, match="stage, tasks, shape"):
        TABLE["seconds"]


def test_text_is_aligned_and_html_is_escaped():
    assert repr(TABLE).splitlines() == [
        "stage         tasks  shape",
        "predict <1>  12,345  2 × 3",
        "relabel           1    4.5",
    ]
    assert "<td>predict &lt;1&gt;</td><td>12,345</td>" in TABLE._repr_html_()


def test_a_page_is_its_parts():
    assert repr(Page()) == f"a < b\nc\n\n{TABLE!r}"
    assert Page()._repr_html_() == f"<p>a &lt; b<br>c</p>{TABLE._repr_html_()}"
