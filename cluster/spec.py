"""Describes what is to be started: a kind of executor, and the pools of workers that it is to have."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from .batch.jobs import Jobs
from .executor import PoolName


@dataclass(frozen=True)
class PoolSpec:
    """Describes workers of one sort.

    Args:
        workers: number of workers.
        memory: bytes that each may use before it is killed and replaced.
        per_gpu: number of workers that share a GPU, where they have any.
    """

    workers: int
    memory: int
    per_gpu: int = 1


@dataclass(frozen=True)
class ClusterSpec:
    """Describes where calls are to run.

    Args:
        kind: "serial", "local", or a batch system.
        pools: pools with workers; "serial" has none and ignores them.
        directory: directory of the run; on a batch system, one that all nodes see.
        interface: on a batch system, the network between nodes, such as "ib0"; that of the default route unless given.
        dashboard: on a batch system, the address where Dask shows what it does.
    """

    kind: str
    pools: Mapping[PoolName, PoolSpec | Jobs] = field(default_factory=dict)
    directory: Path = Path()
    interface: str | None = None
    dashboard: str = "127.0.0.1:0"
