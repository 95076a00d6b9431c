"""The curves of a training, drawn from its log: losses, and how well its validation boxes are segmented."""

from __future__ import annotations

import contextlib
import io
import json
from pathlib import Path
from typing import Any

from ...pipeline.errors import RequestError
from ...pipeline.networks.log import LOG

CURVES = "curves.png"
LOSSES = {"loss": "training", "validation_loss": "validation"}
SCORES = {
    "validation_score": "√(variation of information · adapted Rand error)",
    "adapted_rand_error": "adapted Rand error",
}


def training_curves(directory: Path) -> bytes:
    """Draws a PNG of losses against steps, and of the best threshold's scores, where there are any.

    Args:
        directory: with the training's log.

    Raises:
        RequestError: it holds no log, or one without a step.
    """
    from matplotlib.figure import Figure

    points = read_points(directory / LOG)
    panels = [panel for panel in (LOSSES, SCORES) if any(points.get(name) for name in panel)]
    if not panels:
        raise RequestError(f"Curves are drawn from steps, and the log {directory / LOG} has none yet.")
    figure = Figure(figsize=(6 * len(panels), 4), dpi=120, layout="constrained")
    for axes, panel in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        for name, label in panel.items():
            if points.get(name):
                axes.plot(*zip(*points[name], strict=True), label=label, linewidth=1)
        axes.set(xlabel="step", ylabel="loss" if panel is LOSSES else None)
        axes.set_ylim(bottom=0)
        axes.legend(frameon=False)
    file = io.BytesIO()
    figure.savefig(file, format="png")
    return file.getvalue()


def read_points(log: Path) -> dict[str, list[tuple[int, float]]]:
    """Reads step and value of every number in a log; of a list, the smallest.

    What was logged after the state from which a training then went on is left out: those steps were done again.

    Raises:
        RequestError: the log cannot be read.
    """
    points: dict[str, list[tuple[int, float]]] = {}
    for line in read_lines(log):
        if "event" in line:
            points = {name: [p for p in found if p[0] <= line["next_step"]] for name, found in points.items()}
        if "step" in line:
            for name, value in line.items():
                points.setdefault(name, []).append((line["step"], min(value) if isinstance(value, list) else value))
    return points


def read_lines(log: Path) -> list[dict[str, Any]]:
    """Reads the lines of a log, but for those that a crash has torn.

    Raises:
        RequestError: the log cannot be read.
    """
    lines = []
    try:
        text = log.read_text()
    except OSError as error:
        raise RequestError(f"The training log {log} cannot be read: {error}") from error
    for line in text.splitlines():
        with contextlib.suppress(ValueError):
            lines.append(json.loads(line))
    return lines
