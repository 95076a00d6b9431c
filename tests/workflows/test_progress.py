"""Progress goes below a notebook's cell, else to standard error: bars on a terminal, lines where nobody watches."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import IPython
import IPython.display
import pytest

from petavox.workflows.progress import Bars, Cell, Lines, Nothing, in_notebook, on_standard_error, suitable
from petavox.workflows.time_left import Outlook


@pytest.fixture(params=[lambda: Lines(interval=0.0), Bars])
def progress(request):
    return request.param()


def test_what_happens_is_told_on_standard_error_alone(progress, capsys):
    progress.begin([("predict", 3, 1), ("relabel", 3, 0)])
    progress.advance("predict")
    progress.advance("predict", failed=True)
    progress.note("A [note] with brackets")
    progress.close()
    out, err = capsys.readouterr()
    assert out == ""
    assert "predict" in err
    assert "1 failed" in err
    assert "A [note] with brackets" in err


def test_lines_are_few_but_the_first_and_the_last_of_a_stage_are_there(capsys):
    progress = Lines(interval=1000.0)
    progress.begin([("predict", 50, 0)])
    for _ in range(50):
        progress.advance("predict")
    first, last = capsys.readouterr().err.splitlines()
    assert first.startswith("predict: 1 of 50, 0.0 s")
    assert last.startswith("predict: 50 of 50, 0.0 s")


def test_lines_tell_of_tasks_under_way_and_of_the_time_that_is_left(capsys):
    progress = Lines(interval=0.0)
    progress.begin([("predict", 4, 0), ("relabel", 4, 0)], Outlook({"predict": 400.0, "relabel": 200.0}))
    progress.working({"predict": 0.25})
    assert capsys.readouterr().err.startswith("predict: 0.2 of 4, 0.0 s, about 3 min 20 s left")


def test_bars_say_what_a_stage_waits_for(capsys):
    progress = Bars()
    progress.begin([("predict", 4, 0), ("relabel", 4, 0)], Outlook(needs={"relabel": ("predict",)}))
    progress.close()
    assert "waits for predict" in capsys.readouterr().err


def test_bars_are_for_terminals(monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    assert isinstance(on_standard_error(), Bars)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: False, raising=False)
    assert isinstance(on_standard_error(), Lines)


class Displayed:
    """What a notebook shows below a cell: one output, and how often it has changed."""

    def __init__(self):
        self.now, self.changes, self.outputs = {}, 0, 0

    def display(self, shown, *, raw, display_id):
        self.outputs += 1
        self.update(shown, raw=raw)
        return self

    def update(self, shown, *, raw):
        self.now = shown
        self.changes += 1


@pytest.fixture
def notebook(monkeypatch):
    """This process as the kernel of a notebook."""
    shown = Displayed()
    monkeypatch.setattr(IPython, "get_ipython", lambda: SimpleNamespace(kernel=True))
    monkeypatch.setattr(IPython.display, "display", shown.display)
    return shown


def test_a_notebook_has_one_output_that_changes_in_place(notebook, capfd):
    progress = suitable()
    assert isinstance(progress, Cell)
    progress.begin([("predict", 3, 1), ("relabel", 3, 0)])
    progress.advance("predict")
    progress.advance("predict", failed=True)
    progress.note("A <note> with brackets")
    progress.close()
    assert notebook.outputs == 1
    assert notebook.now["text/plain"].splitlines()[:3] == [
        "predict: 2 of 3, 1 failed",
        "relabel: 0 of 3",
        "A <note> with brackets",
    ]
    assert "<progress value=2 max=3>" in notebook.now["text/html"]
    assert "A &lt;note&gt; with brackets" in notebook.now["text/html"]
    assert capfd.readouterr() == ("", "")


def test_a_notebook_is_not_asked_to_draw_every_task_but_shows_the_last(notebook):
    progress = Cell(interval=1000.0)
    progress.begin([("predict", 500, 0)])
    for _ in range(500):
        progress.advance("predict")
    assert notebook.changes == 1
    progress.close()
    assert "predict: 500 of 500" in notebook.now["text/plain"]


def test_without_a_kernel_a_process_is_no_notebook(monkeypatch):
    monkeypatch.setattr(IPython, "get_ipython", lambda: SimpleNamespace())
    assert not in_notebook()
    monkeypatch.setattr(IPython, "get_ipython", lambda: None)
    assert not in_notebook()
    monkeypatch.delitem(sys.modules, "IPython")
    assert not in_notebook()
    assert isinstance(suitable(), Bars | Lines)


def test_nothing_is_shown_where_it_is_not_wanted(notebook, capfd):
    progress = suitable(False)
    assert isinstance(progress, Nothing)
    progress.begin([("predict", 3, 1)])
    progress.advance("predict")
    progress.note("note")
    progress.close()
    assert notebook.outputs == 0
    assert capfd.readouterr() == ("", "")
