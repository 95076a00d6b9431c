"""What is to be started: a kind of executor, and the pools of workers that it is to have."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from .executor import PoolName


@dataclass(frozen=True)
class Pool:
    """Workers of one sort.

    Args:
        workers: how many.
        memory: bytes that each may use before it is killed and replaced.
    """

    workers: int
    memory: int


@dataclass(frozen=True)
class Place:
    """Where calls are to run.

    Args:
        kind: "serial" or "local".
        pools: those with workers; "serial" has none and ignores them.
        directory: of the run.
    """

    kind: str
    pools: Mapping[PoolName, Pool] = field(default_factory=dict)
    directory: Path = Path()
