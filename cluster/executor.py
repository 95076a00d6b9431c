"""The contract of every place that runs tasks: calls go in, completions come out, at most `window` at a time."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any, Protocol

Function = Callable[..., Any]


@dataclass(frozen=True)
class Completion:
    """How one submitted call ended.

    Args:
        key: the key that it was submitted under.
        value: what the function returned.
        error: the traceback of what it raised.
        lost: its worker died before it ended; whether it had any effect is unknown.
    """

    key: Any
    value: Any = None
    error: str | None = None
    lost: bool = False


class Executor(Protocol):
    """Runs one picklable, importable function, given when it was made, with arguments given by `submit`."""

    window: int  # as many calls as can run at the same time; the caller keeps no more than that in flight
    dashboard: str | None  # address of a page that shows what is going on

    def submit(self, key: Hashable, *arguments: Any) -> None:
        """Start a call; a key may come again once it has completed."""

    def completed(self, timeout: float) -> list[Completion]:
        """All that ended since the last time; waits for the first one, at most `timeout` seconds."""

    def cancel(self) -> None:
        """Forget every call in flight; none of them is reported any more."""

    def close(self) -> None:
        """Cancel, and leave no process behind."""
