"""Finishes a training without an end: a copy of its state is annealed, and makes the checkpoint of its directory.

The training's own state is only read, so it may be at work meanwhile, and goes on from where it is. The copy has a
directory of its own, `finish/`, in which a finishing that was stopped goes on.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ...pipeline.affinities.training import CHECKPOINT, STATE
from ...pipeline.affinities.training_state import read_progress
from ...pipeline.errors import RequestError
from ...pipeline.files import replacing, write_bytes
from ...pipeline.networks.checkpoint import CARD, CONFIG, WEIGHTS
from ..recipes import strict_toml
from ..recipes.training_recipe import TrainingRecipe
from .train import train
from .training_lock import trainer_at_work

FINISH = "finish"


def parse_share(text: str) -> float:
    """Parses a share such as "5%".

    Raises:
        RequestError: it is none above 0 % and up to 100 %.
    """
    try:
        share = float(text.removesuffix("%")) / 100
    except ValueError:
        share = math.nan
    if not text.endswith("%") or not 0 < share <= 1:
        raise RequestError(
            f'The share of the steps to finish with must be one such as "5%", up to 100%; found "{text}".'
        )
    return share


def finish(
    path: Path,
    directory: Path,
    share: float,
    overrides: Sequence[str] = (),
    report: Callable[[dict[str, Any]], None] | None = None,
    tell: Callable[[str], None] = lambda remark: None,
    pause: Callable[[], bool] = lambda: False,
) -> Path | None:
    """Anneals a copy of a training's state to a rate of 0, and makes the checkpoint of the training's directory.

    Args:
        path: recipe of the training.
        directory: directory of the training.
        share: steps to anneal over, as a share of the steps that are done.
        overrides: "key=value" with dotted keys, laid over the recipe; those of the training.
        report: is given every line of the log.
        tell: is told what a user must know.
        pause: tells before each step whether to wait.

    Returns:
        The folder of the checkpoint; None where the finishing was stopped, which the same call continues.

    Raises:
        RequestError: there is no state of a training with a constant rate, or another finishing is at work.
    """
    recipe = strict_toml.read(path, TrainingRecipe, overrides)
    first, steps = _stretch(directory, share, tell)
    values = {"schedule": "constant", "steps": first + steps, "anneal": steps, "minutes": None}
    recipe = recipe.model_copy(update={"training": recipe.training.model_copy(update=values)})
    work, title = directory / FINISH, directory.resolve().name
    made = train(
        *(recipe, work), name=path.name, folder=path.parent, title=title, report=report, tell=tell, pause=pause
    )
    if read_progress(work / STATE).next_step < first + steps:
        return None
    (directory / CHECKPOINT).mkdir(exist_ok=True)
    for name in (WEIGHTS, CONFIG, CARD):
        write_bytes(directory / CHECKPOINT / name, (made / name).read_bytes())
    return directory / CHECKPOINT


def _stretch(directory: Path, share: float, tell: Callable[[str], None]) -> tuple[int, int]:
    """Returns the first step of the annealing and how many there are; begins a new one unless one is unfinished."""
    source, copy = directory / STATE, directory / FINISH / STATE
    if not source.exists():
        raise RequestError(f"Only a training that has saved a state can be finished; {directory} holds none.")
    if copy.exists():
        begun = read_progress(copy)
        steps, anneal = begun.settings["training"]["steps"], begun.settings["training"].get("anneal", 0)
        if anneal and begun.next_step < steps:
            tell(
                f"Goes on with the annealing of {anneal} steps after step {steps - anneal}; remove {copy} for another."
            )
            return steps - anneal, anneal
    if user := trainer_at_work(directory / FINISH):
        raise RequestError(f"Only one training may work in a directory; {directory / FINISH} is in use by {user}.")
    copy.parent.mkdir(exist_ok=True)
    with replacing(copy) as scratch:
        shutil.copyfile(source, scratch)
    found = read_progress(copy)
    if found.settings["training"].get("schedule") != "constant":
        copy.unlink()
        raise RequestError(
            f"Only a training with a constant rate can be finished; that of {directory} falls to 0 by itself. "
            "`petavox train --idle` begins one in another directory."
        )
    return found.next_step, max(1, round(share * found.next_step))
