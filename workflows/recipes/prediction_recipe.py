"""`petavox predict`: the affinities of a raw volume, by a run that ends with them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from . import strict_toml
from .segmentation_recipe import Recipe


def prediction(raw: str, out: str, checkpoint: str, overrides: Sequence[str] = ()) -> Recipe:
    """Returns the recipe of a run from raw data to affinities.

    Args:
        raw: path or URL of the raw volume; a relative path is meant from the current folder, as all of these.
        out: path or URL of the affinities volume, which is made.
        checkpoint: a model's name, or a folder.
        overrides: further values, "model.variants=8".

    Raises:
        RequestError: a value is wrong.
    """
    content: dict[str, Any] = {
        "input": {"raw": raw},
        "model": {"checkpoint": checkpoint},
        "output": {"affinities": out if "://" in out else os.path.abspath(out), "until": "affinities"},  # noqa: PTH100
    }
    content = strict_toml.laid_over(content, overrides)
    return strict_toml.parse(content, Recipe, where="petavox predict", folder=Path.cwd())


def name_of(out: str) -> str:
    """Returns a name for the run's folder: that of the volume that it makes, without endings."""
    return out.rstrip("/").rpartition("/")[2].partition(".")[0] or "predict"
