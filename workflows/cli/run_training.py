"""Runs a training for the command line: as it is, idle, or to finish one."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ..models.benchmark_lock import BenchmarkPause
from ..models.finish import finish as finish_training
from ..models.finish import parse_share
from ..models.idle import IDLE
from ..models.train import train_from_recipe
from .app import say
from .show_training import TrainingTable


def run_training(
    recipe: Path, folder: Path, overrides: Sequence[str], *, idle: bool, finish: str | None, as_json: bool
) -> Path | None:
    """Trains, and prints the log as a table, or as lines of JSON.

    Returns:
        The folder of the checkpoint; None where a finishing was stopped.
    """
    report: Callable[[dict[str, Any]], None] = _print_json if as_json else TrainingTable(say).report
    if idle:
        overrides = [*IDLE, *overrides]
    share = None if finish is None else parse_share(finish)
    with contextlib.closing(BenchmarkPause()) if idle else contextlib.nullcontext(_never) as pause:
        if share is not None:
            made = finish_training(recipe, folder, share, overrides, report, say, pause)
            if made is None:
                say("Stopped. The same command continues.")
            return made
        return train_from_recipe(recipe, folder, overrides, report, say, pause)


def _print_json(line: dict[str, Any]) -> None:
    print(json.dumps(line), flush=True)


def _never() -> bool:
    return False
