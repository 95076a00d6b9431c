"""What `petavox tune` shows of its choice: a table, plain values, a curve, and the folder that keeps all three."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...pipeline.errors import StorageError
from ...pipeline.files import write_text
from ..recipes import strict_toml

if TYPE_CHECKING:
    from decimal import Decimal

    from rich.console import RenderableType

    from ..analysis.tune import Trial, Tuning
    from ..recipes.segmentation_recipe import Agglomeration, Recipe, Supervoxels

TUNING = "tuning"
RECIPE, TRIALS, CURVE = "recipe.toml", "trials.json", "curve.png"
SHOWN = 10


def write_tuning(tuning: Tuning, folder: Path) -> None:
    """Put the chosen recipe, all trials, and the curve into a folder.

    Raises:
        StorageError: it cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        picture = folder / f".{CURVE}"
        picture.write_bytes(curve(tuning))
        picture.replace(folder / CURVE)
    except OSError as error:
        raise StorageError(f"{folder} cannot be written: {error.strerror}. Choose another with --out.") from error
    write_text(folder / TRIALS, json.dumps(tuning_json(tuning), indent=1) + "\n")
    write_text(folder / RECIPE, strict_toml.dump(_movable(tuning.recipe, folder)))


def tuning_table(tuning: Tuning) -> RenderableType:
    """The best trials, what the chosen one scores everywhere, and what to make of it."""
    from rich.console import Group
    from rich.table import Table

    best = Table(*_COLUMNS, "error", "split", "merge", box=None, pad_edge=False)
    for trial in sorted(tuning.trials, key=lambda trial: trial.rank)[:SHOWN]:
        scores = (f"{value:.4f}" for value in (trial.adapted_rand_error, trial.voi_split, trial.voi_merge))
        best.add_row(*_settings(trial), *scores)
    parts = Table("the first of them", "voxels", "error", "split", "merge", box=None, pad_edge=False)
    for number, part in enumerate(tuning.parts):
        role = " (chose)" if number == 0 else " (held out)" if number == 1 else ""
        found = [getattr(part.scores, name, None) for name in _SCORES[:3]]
        parts.add_row(f"{part.name}{role}", str(part.box), *("–" if s is None else f"{s:.4f}" for s in found))
    heading = f"The best of {len(tuning.trials):,}, by the {tuning.parts[0].name}:"
    legend = "error: adapted Rand error; split, merge: the two halves of the variation of information, bits"
    return Group(heading, "", best, "", parts, "", legend, *_warnings(tuning))


def tuning_json(tuning: Tuning) -> dict[str, Any]:
    """The same, and every trial, as plain values."""
    return {
        "chosen": _plain(tuning.chosen),
        "parts": [
            {
                "name": part.name,
                "box": [list(part.box.start), list(part.box.stop)],
                **{name: getattr(part.scores, name, None) for name in _SCORES},
            }
            for part in tuning.parts
        ],
        "ends": _ends(tuning),
        "trials": [_plain(trial) for trial in tuning.trials],
    }


def curve(tuning: Tuning) -> bytes:
    """The error against the threshold as a PNG: of each linkage with what serves it best, by the half that chose."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.5), dpi=120, layout="constrained")
    axes = figure.subplots()
    by_linkage = sorted(tuning.trials, key=lambda trial: _linkage(trial.agglomeration))
    for linkage, trials in groupby(by_linkage, lambda trial: _linkage(trial.agglomeration)):
        line = _line(list(trials))
        axes.plot(*zip(*line, strict=True), marker=".", label=linkage)
    threshold = float(tuning.chosen.agglomeration.threshold)
    for part, marker in zip(tuning.parts, "*oD", strict=False):
        error = [] if part.scores is None else [part.scores.adapted_rand_error]
        axes.plot([threshold] * len(error), error, f"k{marker}", label=f"chosen, {part.name}", fillstyle="none")
    axes.set(xlabel="threshold of agglomeration", ylabel="adapted Rand error")
    axes.set_ylim(bottom=0)
    axes.legend(frameon=False)
    file = io.BytesIO()
    figure.savefig(file, format="png")
    return file.getvalue()


_SCORES = ("adapted_rand_error", "voi_split", "voi_merge", "cremi_score", "precision", "recall")
_COLUMNS = ("low", "high", "join", "linkage", "threshold", "small", "veto")


def _settings(trial: Trial) -> tuple[str, ...]:
    supervoxels, agglomeration = trial.supervoxels, trial.agglomeration
    return (
        str(supervoxels.low),
        str(supervoxels.high),
        _by_size(supervoxels.join_size, supervoxels.join_affinity),
        _linkage(agglomeration),
        str(agglomeration.threshold),
        _by_size(agglomeration.small_size, agglomeration.small_threshold),
        _by_size(agglomeration.veto_size, agglomeration.veto_threshold),
    )


def _by_size(size: int, threshold: Decimal) -> str:
    return f"{size}, {threshold}" if size else "–"


def _linkage(agglomeration: Agglomeration) -> str:
    return "mean" if agglomeration.linkage == "mean" else f"quantile {agglomeration.quantile}"


def _line(trials: list[Trial]) -> list[tuple[float, float]]:
    """(threshold, error) of those trials that differ from the best one in nothing but the threshold."""

    def rest(trial: Trial) -> tuple[Supervoxels, Agglomeration]:
        return trial.supervoxels, trial.agglomeration.model_copy(update={"threshold": 0})

    best = rest(min(trials, key=lambda trial: trial.rank))
    return sorted((float(t.agglomeration.threshold), t.adapted_rand_error) for t in trials if rest(t) == best)


def _ends(tuning: Tuning) -> list[str]:
    return tuning.grid.ends(tuning.chosen.supervoxels, tuning.chosen.agglomeration)


def _warnings(tuning: Tuning) -> Iterator[str]:
    for name in _ends(tuning):
        yield f"The chosen {name} is the first or the last that was tried: --try '{name}=[…]' tries others."
    if len(tuning.parts) == 1:
        yield "These labels have chosen and say nothing about others: cut the box with --split."


def _plain(trial: Trial) -> dict[str, Any]:
    settings = trial.agglomeration.model_dump(include={"linkage", "small_size", "veto_size"})
    decimals = trial.agglomeration.model_dump(include={"quantile", "threshold", "small_threshold", "veto_threshold"})
    supervoxels = trial.supervoxels.model_dump(include={"low", "high", "join_affinity"})
    return {
        **{name: float(value) for name, value in (supervoxels | decimals).items()},
        **settings,
        "join_size": trial.supervoxels.join_size,
        "adapted_rand_error": trial.adapted_rand_error,
        "voi_split": trial.voi_split,
        "voi_merge": trial.voi_merge,
    }


def _movable(recipe: Recipe, folder: Path) -> Recipe:
    """The recipe as it is written into a folder of the run: affinities of the run are named so that both move."""
    affinities, folder = str(recipe.input.affinities), folder.absolute()
    if "://" in affinities or not Path(affinities).is_relative_to(folder.parent):
        return recipe
    source = recipe.input.model_copy(update={"affinities": os.path.relpath(affinities, folder)})
    return recipe.model_copy(update={"input": source})
