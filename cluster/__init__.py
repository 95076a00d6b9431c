"""Where tasks run: in this process, on local processes, or on a cluster. Knows nothing of what they compute."""

from __future__ import annotations

from ..pipeline.errors import RequestError
from .batch import DIALECTS
from .executor import Completion, Executor, Function, PoolName
from .place import Place, Pool

__all__ = ["Completion", "Executor", "Place", "Pool", "PoolName", "start"]


def start(place: Place, function: Function) -> Executor:
    """Starts an executor; every call runs `function`, a top-level function of a module that workers can import.

    Raises:
        RequestError: there is no such kind of place.
    """
    if place.kind == "serial":
        from .serial import Serial

        return Serial(function)
    if place.kind == "local":
        from .local import start as start_local

        return start_local(place, function)
    if place.kind in DIALECTS:
        from .batch.workforce import start as start_jobs

        return start_jobs(place, function)
    kinds = ", ".join(("serial", "local", *DIALECTS))
    raise RequestError(f"Clusters are of one of the kinds {kinds}; found '{place.kind}'.")
