"""Batch systems: pools of jobs that are workers, and one file a dialect."""

from __future__ import annotations

import importlib

from ...pipeline.errors import RequestError
from .queue import BatchQueue

DIALECTS = {"slurm": ("slurm", "Slurm")}
"""Kinds of clusters that are batch systems: the module here that speaks to each, and its class."""


def queue_of(kind: str) -> BatchQueue:
    """Returns the queue of a kind of cluster.

    Raises:
        RequestError: it is no batch system.
    """
    if kind not in DIALECTS:
        raise RequestError(f"Jobs need a batch system ({', '.join(DIALECTS)}); cluster.kind is '{kind}'.")
    module, name = DIALECTS[kind]
    queue: BatchQueue = getattr(importlib.import_module(f".{module}", __name__), name)()
    return queue
