"""The log of a training: lines of JSON, and the same numbers for TensorBoard."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .tensorboard import EventFile

LOG = "training_log.jsonl"


class TrainingLog:
    """Appends to the log of a directory.

    Args:
        directory: directory of the training.
        done: number of steps done; curves of later steps, drawn before an interruption, are forgotten.
        report: is given every line.
    """

    def __init__(self, directory: Path, done: int, report: Callable[[dict[str, Any]], None] | None) -> None:
        self._path, self._report = directory / LOG, report
        last = self._path.read_bytes()[-1:] if self._path.exists() else b""
        self._separator = b"" if last in (b"", b"\n") else b"\n"  # a crash may have torn the last line
        self._events = EventFile(directory, done + 1)

    def add(self, **line: Any) -> None:
        """Writes a line; of one with a step, all numbers and lists of numbers can be drawn."""
        with self._path.open("ab") as file:
            file.write(self._separator + json.dumps(line).encode() + b"\n")
        self._separator = b""
        if "step" in line:
            self._events.add(line["step"], _numbers(line))
        if self._report is not None:
            self._report(line)


def _numbers(line: dict[str, Any]) -> dict[str, float]:
    """The numbers of a line under their names, those of lists one by one."""
    found: dict[str, float] = {}
    for name, value in line.items():
        if isinstance(value, list):
            found |= {f"{name}/{i}": number for i, number in enumerate(value)}
        elif name != "step":
            found[name] = value
    return found
