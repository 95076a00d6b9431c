"""Where tasks run: in this process, on local processes, or on a cluster. Knows nothing of what they compute."""

from __future__ import annotations

from ..pipeline.errors import RequestError
from .batch import DIALECTS
from .executor import Completion, Executor, Function, PoolName
from .spec import ClusterSpec, PoolSpec

__all__ = ["ClusterSpec", "Completion", "Executor", "PoolName", "PoolSpec", "start"]


def start(spec: ClusterSpec, function: Function) -> Executor:
    """Starts an executor; every call runs `function`, a top-level function of a module that workers can import.

    Raises:
        RequestError: there is no such kind of cluster.
    """
    if spec.kind == "serial":
        from .serial import Serial

        return Serial(function)
    if spec.kind == "local":
        from .local import start as start_local

        return start_local(spec, function)
    if spec.kind in DIALECTS:
        from .batch.workforce import start as start_jobs

        return start_jobs(spec, function)
    kinds = ", ".join(("serial", "local", *DIALECTS))
    raise RequestError(f"Clusters are of one of the kinds {kinds}; found '{spec.kind}'.")
