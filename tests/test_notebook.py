"""The notebook of the documentation runs in a kernel from a TIFF stack to a picture of segments."""

from __future__ import annotations

import re
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOK = Path(__file__).parents[1] / "docs" / "notebook.ipynb"


@pytest.fixture
def notebook():
    return nbformat.read(NOTEBOOK, as_version=4)


def outputs_of(notebook, source, kind):
    """All that the cell with some text in it has put out, of one type."""
    (cell,) = (cell for cell in notebook.cells if cell.cell_type == "code" and source in cell.source)
    return "".join(output["data"].get(kind, "") for output in cell.outputs if "data" in output)


def error_of(table):
    return float(re.search(r"<td>adapted rand error</td><td>([\d.]+)", table)[1])


@pytest.mark.slow
def test_the_notebook_runs_from_a_stack_to_a_picture(notebook, tmp_path):
    NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(tmp_path)}}).execute()
    for drawn in ("petavox.picture(raw)", "petavox.picture(affinities)", "petavox.picture(run.segmentation, over=raw)"):
        assert len(outputs_of(notebook, drawn, "image/png")) > 10_000
    assert "scores</td><td><progress value=1 max=1>" in outputs_of(notebook, "run = petavox.run(recipe", "text/html")
    assert error_of(outputs_of(notebook, "scores = run.scores", "text/html")) < 0.05
    assert "<iframe" in outputs_of(notebook, "run.report", "text/html")
    assert (tmp_path / "runs" / "neurites" / "report.html").exists()


def test_the_notebook_is_stored_without_what_it_puts_out(notebook):
    nbformat.validate(notebook)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            assert cell.outputs == []
            assert cell.execution_count is None
