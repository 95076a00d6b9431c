"""Progress goes to standard error: as lines where nobody watches, as bars on a terminal."""

from __future__ import annotations

import sys

import pytest

from petavox.workflows.progress import Bars, Lines, on_standard_error


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
    assert capsys.readouterr().err.splitlines() == ["predict: 1 of 50", "predict: 50 of 50"]


def test_bars_are_for_terminals(monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    assert isinstance(on_standard_error(), Bars)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: False, raising=False)
    assert isinstance(on_standard_error(), Lines)
