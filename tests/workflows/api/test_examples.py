"""Every example runs: those of the public docstrings, of docs/python.md and of the README."""

from __future__ import annotations

import doctest
import re
from pathlib import Path

import numpy as np
import pytest

import petavox
from petavox.workflows.api import networks, pictures, plans, runs, scores, tables, volumes

TREE = Path(__file__).parents[3]
FUNCTIONS = {name: getattr(petavox, name) for name in dir(petavox) if name != "__version__"}
CLASSES = {
    thing.__name__: thing
    for module in (networks, pictures, plans, runs, scores, tables, volumes)
    for thing in vars(module).values()
    if isinstance(thing, type) and thing.__module__ == module.__name__
}
FINDER = doctest.DocTestFinder(exclude_empty=True)
TESTS = [
    test
    for name, thing in {**FUNCTIONS, **CLASSES}.items()
    for test in FINDER.find(thing, name, globs={"petavox": petavox, "np": np})
    if test.examples
]
pytestmark = pytest.mark.slow

PAGES = ("README.md", "docs/python.md")


@pytest.mark.parametrize("name", [*FUNCTIONS, "Run", "Volume", "Run.cut", "Run.status", "Run.contact_graph"])
def test_what_is_public_has_an_example(name):
    assert name in {test.name for test in TESTS}


@pytest.mark.parametrize("test", TESTS, ids=lambda test: test.name)
def test_the_example_of_a_docstring_does_what_it_says(test, examples, monkeypatch):
    monkeypatch.chdir(examples)
    said: list[str] = []
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE, verbose=False)
    runner.run(test, out=said.append, clear_globs=False)
    assert not runner.failures, "".join(said)


@pytest.mark.parametrize("page", PAGES)
def test_the_python_of_a_page_runs_from_top_to_bottom(page, examples, monkeypatch):
    monkeypatch.chdir(examples)
    blocks = re.findall(r"^```python\n(.*?)^```", (TREE / page).read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    assert blocks
    names: dict[str, object] = {}
    for block in blocks:
        exec(compile(block, page, "exec"), names)
