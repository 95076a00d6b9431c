"""The contract of every place that runs tasks: calls go in, by pool; completions come out."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol, cast

Function = Callable[..., Any]
PoolName = Literal["cpu", "gpu"]


def worker_name(pool: PoolName, number: int | str) -> str:
    """Returns the name of a worker: its pool, and its number in it, or its job's."""
    return f"{pool}-{number}"


def pool_and_number(name: str) -> tuple[PoolName, str]:
    """Returns the pool of a worker, and its number or its job's, from its name."""
    pool, _, number = name.partition("-")
    return cast(PoolName, pool), number


@dataclass(frozen=True)
class Completion:
    """Describes how a submitted call ended: `value` is what it returned, `error` the traceback of what it raised.

    `lost`: its worker died before it ended, so that nobody knows whether it had any effect; `reason` says why in
    words, where that is known.
    """

    key: Any
    value: Any = None
    error: str | None = None
    lost: bool = False
    reason: str = ""


class Executor(Protocol):
    """Runs one picklable, importable function, given when it was made, with arguments given by `submit`."""

    dashboard: str | None  # address of a page that shows what is going on

    def capacity(self) -> Mapping[PoolName, int]:
        """Counts the calls that each pool can run at once now; the caller keeps no more than that in flight."""

    def expect(self, ready: Mapping[PoolName, int]) -> None:
        """Learns how many calls each pool could run now if it were large enough; elastic pools adapt to it."""

    def submit(self, key: Hashable, pool: PoolName, *arguments: Any) -> None:
        """Start a call on a worker of a pool; a key may come again once it has completed."""

    def completed(self, timeout: float) -> list[Completion]:
        """Returns all that ended since the last time; waits for the first one, at most `timeout` seconds."""

    def cancel(self) -> None:
        """Forget every call in flight; none of them is reported any more."""

    def close(self) -> None:
        """Cancel, and leave no process behind."""
