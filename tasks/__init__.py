"""Computes one block: one file a task, each with a strict config and run(config, index).

A task file holds `Config`, `run(config, index) -> Outcome`, `pieces(config, index)`, what `run` leaves there,
`resources(config, density) -> Resources`, what one of them takes, `work(config, extent, growth) -> Work`, by which its
costs are estimated, and `VERSION`, which is raised whenever the code that computes the result changes.
"""

from __future__ import annotations

import importlib
from types import ModuleType

# Loaded only when asked for, so that a worker imports torch only if it predicts.
TASKS = ("predict", "supervoxels", "faces", "agglomerate", "assign", "relabel", "contingency", "scores")


def load(name: str) -> ModuleType:
    """Returns the module of a task.

    Raises:
        KeyError: there is no such task.
    """
    if name not in TASKS:
        raise KeyError(f"There is no task '{name}'; known are {', '.join(TASKS)}.")
    return importlib.import_module(f".{name}", __name__)
