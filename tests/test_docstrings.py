"""Every name explains itself: the first line of its docstring can be read alone; of a public one, it has a verb."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ROOMS = ("pipeline", "tasks", "workflows", "cluster")
RIDDLE = re.compile(r"(What|How|Of|The same|Whether|Which)\b")
NO_VERB = re.compile(r"(The|An?|Some|All|Every|Each|One)\b")
SENTENCES_OF_THEIR_OWN = {"errors"}
"""Modules whose classes say in a sentence with a subject of its own what went wrong."""

Documented = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


def _documented(node: Documented, name: str, is_public: bool = True) -> Iterator[tuple[str, Documented, bool]]:
    """A module, class or function and those inside it, and whether they are public."""
    yield name, node, is_public
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield from _documented(child, f"{name}.{child.name}", is_public and not child.name.startswith("_"))


def _faults(file: Path) -> list[str]:
    """The names of a file whose first lines break the rule."""
    found = []
    for name, node, is_public in _documented(ast.parse(file.read_text(encoding="utf-8")), file.stem):
        first = (ast.get_docstring(node) or "").partition("\n")[0]
        needs_verb = is_public and not isinstance(node, ast.Module) and file.stem not in SENTENCES_OF_THEIR_OWN
        if first and (RIDDLE.match(first) or not first.endswith(".") or (needs_verb and NO_VERB.match(first))):
            found.append(f"{name}: {first}")
    return found


@pytest.mark.parametrize("room", ROOMS)
def test_first_lines_of_docstrings_are_sentences(room: str) -> None:
    files = sorted((ROOT / room).rglob("*.py"))
    assert files
    faults = [f"{file.relative_to(ROOT)}: {fault}" for file in files for fault in _faults(file)]
    assert not faults, "say in a sentence what it does:\n" + "\n".join(faults)


@pytest.mark.parametrize(
    ("line", "is_fault"),
    [
        ("Counts the blocks along each axis.", False),
        ("How many blocks there are along each axis.", True),
        ("The blocks along each axis.", True),
        ("Of all tasks together.", True),
        ("Counts the blocks along each axis", True),
    ],
)
def test_the_rule_tells_sentences_from_riddles(tmp_path: Path, line: str, is_fault: bool) -> None:
    file = tmp_path / "room.py"
    file.write_text(f'def public():\n    """{line}"""\n\n\ndef _private():\n    """The one."""\n')

    assert bool(_faults(file)) is is_fault
