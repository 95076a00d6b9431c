"""Says how far a training is, from its log, its state and its lock; nothing is written."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...pipeline.affinities.training_config import ENDLESS
from ...pipeline.errors import RequestError
from ...pipeline.networks.log import LOG
from .curves import read_lines
from .training_lock import trainer_at_work


@dataclass(frozen=True)
class TrainingStatus:
    """Holds a training as it was found.

    Args:
        directory: directory of the training.
        trainer: process that is at work there, if any.
        paused: whether it waits for a benchmark.
        step: steps done.
        steps: steps to do; None where there is no end.
        loss: mean loss of the last steps that were logged.
        learning_rate: rate of the last step that was logged.
        validation_loss, validation_score: the last ones, if any.
        best_step: step of the best validation score.
        seconds: seconds of training so far.
        seconds_per_step: of the last steps that were logged.
        time_left: seconds until the end at this pace; None where that is not known.
    """

    directory: Path
    trainer: str | None
    paused: bool
    step: int
    steps: int | None
    loss: float | None = None
    learning_rate: float | None = None
    validation_loss: float | None = None
    validation_score: float | None = None
    best_step: int | None = None
    seconds: float | None = None
    seconds_per_step: float | None = None
    time_left: float | None = None


def is_training(directory: Path) -> bool:
    """Tells whether a directory is one of a training."""
    return (directory / LOG).is_file()


def training_status(directory: Path) -> TrainingStatus:
    """Looks how far a training is.

    Raises:
        RequestError: the directory holds no log of a training.
    """
    progress = TrainingProgress()
    for line in read_lines(directory / LOG):
        progress.add(line)
    if not progress.settings:
        raise RequestError(f"The training log {directory / LOG} has no beginning: it is damaged.")
    trainer = trainer_at_work(directory)
    found: dict[str, Any] = {
        name: progress.last[name] for name in TrainingStatus.__annotations__ if name in progress.last
    }
    return TrainingStatus(
        **found,
        directory=directory,
        trainer=trainer,
        paused=trainer is not None and progress.paused,
        steps=progress.steps,
        time_left=progress.time_left(),
    )


class TrainingProgress:
    """Follows a training by the lines of its log: the last value of everything, and the time left."""

    def __init__(self) -> None:
        self.settings: dict[str, Any] = {}
        self.paused = False
        self.last: dict[str, Any] = {"step": 0}

    def add(self, line: dict[str, Any]) -> None:
        """Takes a line of the log."""
        self.paused = line.get("event") == "pause"
        self.settings = line.get("training", self.settings)
        if "event" in line:
            self.last["step"] = line["next_step"]
        self.last |= line

    @property
    def steps(self) -> int | None:
        """Returns the steps to do; None where there is no end."""
        steps = int(self.settings["steps"])
        return None if steps >= ENDLESS else steps

    def time_left(self) -> float | None:
        """Returns the seconds until the end, by the steps or the minutes; None where that is not known."""
        left = []
        pace, seconds, minutes = (*map(self.last.get, ("seconds_per_step", "seconds")), self.settings.get("minutes"))
        if self.steps is not None and pace is not None:
            left.append(max(0, self.steps - self.last["step"]) * pace)
        if minutes is not None and seconds is not None:
            left.append(max(0.0, 60 * minutes - seconds))
        return min(left, default=None)
