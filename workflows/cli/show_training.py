"""Prints a training: a line for each line of its log, and how far it is."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from ...cluster.quantities import duration
from ..models.training_status import TrainingProgress, TrainingStatus

COLUMNS = {"step": 9, "loss": 9, "valid. loss": 12, "valid. score": 13, "rate": 10, "s/step": 9, "time left": 13}


class TrainingTable:
    """Prints a training while it goes on: a row for every line of its log.

    Args:
        say: prints a line.
    """

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say, self._progress = say, TrainingProgress()

    def report(self, line: dict[str, Any]) -> None:
        """Prints a row for a line of the log."""
        self._progress.add(line)
        if "event" in line:
            self._say(self._event(line))
        else:
            self._say(_row(line, self._time_left() if "seconds_per_step" in line else ""))

    def _event(self, line: dict[str, Any]) -> str:
        if line["event"] in ("pause", "go on"):
            waits = line["event"] == "pause"
            return (
                "A benchmark runs: the training waits." if waits else "The benchmark has ended: the training goes on."
            )
        end = "without an end" if self._progress.steps is None else f"of {self._progress.steps:,} steps"
        begins = f"Goes on after step {line['next_step']:,}" if line["next_step"] else "Begins"
        return f"{begins}, {end}.\n" + "".join(name.rjust(width) for name, width in COLUMNS.items())

    def _time_left(self) -> str:
        left = self._progress.time_left()
        return "no end" if left is None else duration(left)


def _row(line: dict[str, Any], time_left: str) -> str:
    formats = {
        "step": ("step", "{:,}"),
        "loss": ("loss", "{:.4f}"),
        "valid. loss": ("validation_loss", "{:.4f}"),
        "valid. score": ("validation_score", "{:.4f}"),
        "rate": ("learning_rate", "{:.2e}"),
        "s/step": ("seconds_per_step", "{:.2f}"),
    }
    cells = [form.format(line[key]) if key in line else "" for key, form in formats.values()]
    return "".join(cell.rjust(width) for cell, width in zip([*cells, time_left], COLUMNS.values(), strict=True))


def training_text(found: TrainingStatus) -> str:
    """Says how far a training is."""
    at_work = found.trainer or "nobody"
    lines = [
        f"{found.directory}: {at_work} is at work{', and waits for a benchmark' if found.paused else ''}.",
        "",
        f"steps          {found.step:,}" + (", without an end" if found.steps is None else f" of {found.steps:,}"),
    ]
    figures = {
        "loss": (found.loss, "{:.4f}"),
        "valid. loss": (found.validation_loss, "{:.4f}"),
        "valid. score": (found.validation_score, "{:.4f}"),
        "best step": (found.best_step, "{:,}"),
        "rate": (found.learning_rate, "{:.2e}"),
        "s/step": (found.seconds_per_step, "{:.2f}"),
    }
    lines += [f"{name:15}{form.format(value)}" for name, (value, form) in figures.items() if value is not None]
    times = {"trained for": found.seconds, "time left": found.time_left if found.trainer else None}
    return "\n".join([*lines, *(f"{name:15}{duration(value)}" for name, value in times.items() if value is not None)])


def training_json(found: TrainingStatus) -> dict[str, Any]:
    """Returns how far a training is as plain values; seconds."""
    return dataclasses.asdict(found) | {"directory": str(found.directory)}
