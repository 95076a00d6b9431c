"""The folder that keeps a tuning: its recipe, every trial, and the curve."""

from __future__ import annotations

import io
import json
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...pipeline.affinities.checkpoint import Settings
from ...pipeline.errors import StorageError
from ...pipeline.files import write_bytes, write_text
from ..recipes import strict_toml

if TYPE_CHECKING:
    from ..recipes.segmentation_recipe import Agglomeration, Supervoxels
    from .tune import Trial, Tuning


TUNING = "tuning"
RECIPE, TRIALS, CURVE = "recipe.toml", "trials.json", "curve.png"
SCORES = ("adapted_rand_error", "voi_split", "voi_merge", "cremi_score", "precision", "recall")


def write_tuning(tuning: Tuning, folder: Path) -> None:
    """Put the chosen recipe, all trials, and the curve into a folder.

    Raises:
        StorageError: it cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(f"{folder} cannot be written: {error.strerror}. Choose another with --out.") from error
    write_bytes(folder / CURVE, curve(tuning))
    write_text(folder / TRIALS, json.dumps(tuning_json(tuning), indent=1) + "\n")
    folder = folder.absolute()
    write_text(folder / RECIPE, strict_toml.dump(tuning.recipe.written_in(folder, moving=folder.parent)))


def settings_of(trial: Trial) -> Settings:
    """Returns the settings of a trial as they come with a model: those that are not a recipe's defaults."""

    def stated(section: Supervoxels | Agglomeration) -> dict[str, int | float | str]:
        plain, default = section.model_dump(mode="json"), type(section)().model_dump(mode="json")
        return {key: value for key, value in plain.items() if value != default[key]}

    return Settings(supervoxels=stated(trial.supervoxels), agglomeration=stated(trial.agglomeration))


def tuning_json(tuning: Tuning) -> dict[str, Any]:
    """Returns the choice and every trial as plain values."""
    return {
        "chosen": _plain(tuning.chosen),
        "parts": [
            {
                "name": part.name,
                "box": [list(part.box.start), list(part.box.stop)],
                **{name: getattr(part.scores, name, None) for name in SCORES},
            }
            for part in tuning.parts
        ],
        "ends": ends_of(tuning),
        "trials": [_plain(trial) for trial in tuning.trials],
    }


def curve(tuning: Tuning) -> bytes:
    """Draws the error against the threshold as a PNG: each linkage with its best other settings."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.5), dpi=120, layout="constrained")
    axes = figure.subplots()
    by_linkage = sorted(tuning.trials, key=lambda trial: linkage_name(trial.agglomeration))
    for linkage, trials in groupby(by_linkage, lambda trial: linkage_name(trial.agglomeration)):
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


def linkage_name(agglomeration: Agglomeration) -> str:
    """Returns the linkage for reading, with its quantile if it has one."""
    return f"quantile {agglomeration.quantile}" if agglomeration.linkage == "quantile" else agglomeration.linkage


def _line(trials: list[Trial]) -> list[tuple[float, float]]:
    """(threshold, error) of those trials that differ from the best one in nothing but the threshold."""

    def rest(trial: Trial) -> tuple[Supervoxels, Agglomeration]:
        return trial.supervoxels, trial.agglomeration.model_copy(update={"threshold": 0})

    best = rest(min(trials, key=lambda trial: trial.rank))
    return sorted((float(t.agglomeration.threshold), t.adapted_rand_error) for t in trials if rest(t) == best)


def ends_of(tuning: Tuning) -> list[str]:
    """Returns the keys whose chosen value is the first or the last that was tried."""
    return tuning.grid.ends(tuning.chosen.supervoxels, tuning.chosen.agglomeration)


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
