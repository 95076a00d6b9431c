"""The layout of a run directory: the names of what a run keeps in it."""

from __future__ import annotations

from pathlib import Path

from ..recipes.segmentation_recipe import NAME as RECIPE

__all__ = ["CLUSTER", "COPY", "HANGS", "LEDGER", "LOG", "RECIPE", "STATUS", "directory_of"]

LEDGER = "ledger.sqlite"
COPY = "ledger.copy.sqlite"
"""Of the ledger, as it was when a driver last began or ended."""
STATUS = "status.json"
LOG = "log.txt"
HANGS = "hangs"
"""Folder for the tracebacks of tasks that hang."""


CLUSTER = "cluster"
"""Folder of the jobs of a run on a batch system."""


def directory_of(recipe: Path) -> Path:
    """Finds the run directory of a recipe: the folder of a recipe that a run keeps, else runs/NAME beside it."""
    return recipe.parent if (recipe.parent / LEDGER).exists() else recipe.parent / "runs" / recipe.stem
