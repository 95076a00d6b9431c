"""Where tasks run: in this process, on local processes, or on a cluster. Knows nothing of what they compute."""

from __future__ import annotations

from ..pipeline.errors import RequestError
from .executor import Completion, Executor, Function

__all__ = ["Completion", "Executor", "start"]


def start(kind: str, function: Function, *, workers: int, memory: int) -> Executor:
    """An executor of a kind that recipes name: "serial" or "local".

    Args:
        kind: where to run.
        function: what every call runs; a top-level function of a module that workers can import.
        workers: processes ("serial" has none and ignores it).
        memory: bytes that one worker may use ("serial" does not watch it).

    Raises:
        RequestError: there is no such kind.
    """
    if kind == "serial":
        from .serial import Serial

        return Serial(function)
    if kind == "local":
        from .local import Local

        return Local(function, workers=workers, memory=memory)
    raise RequestError(f"Clusters are of kind 'serial' or 'local'; found '{kind}'.")
