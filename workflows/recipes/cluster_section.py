"""[cluster] of a recipe: where tasks run, and the presets that describe clusters by name."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import NonNegativeInt, PositiveInt, ValidationInfo, model_validator

from ...cluster import Place, Pool, PoolName
from ...cluster.batch import DIALECTS
from ...cluster.batch.jobs import DriverJob, GpuJobs, Jobs
from ...cluster.quantities import Size, parse_bytes
from ...pipeline.errors import RequestError
from . import strict_toml
from .strict_toml import Section

_SHIPPED = Path(__file__).parent / "presets"


class Pools(Section):
    """On a batch system: what jobs are like, and how many there may be."""

    cpu: Jobs = Jobs()
    gpu: GpuJobs | None = None  # that predict, unless the model's device is "cpu"; as they come, where it is "cuda"
    driver: DriverJob = DriverJob()  # of `petavox submit`; the partition, account and qos of cpu unless given


class Cluster(Section):
    """Where tasks run."""

    preset: str | None = None  # a name, or a path that ends in .toml; what follows is laid over it
    kind: Literal["serial", "local", "slurm"] = "local"
    workers: PositiveInt = 2  # processes on this machine
    gpus: NonNegativeInt = 0  # of this machine, for processes that predict; with device "cuda", at least 1
    workers_per_gpu: PositiveInt = 1  # processes that share a GPU: one reads and writes while another computes
    memory: Size | None = None  # of one worker on this machine; its share of what is free unless given
    pools: Pools = Pools()
    interface: str | None = None  # the network between nodes, such as "ib0"; that of the default route unless given
    dashboard: str = "127.0.0.1:0"  # where the driver on a cluster shows what Dask does; port 0 is any that is free

    @model_validator(mode="before")
    @classmethod
    def _over_preset(cls, content: Any, info: ValidationInfo) -> Any:
        """`preset` names a file with a [cluster] of its own; what the recipe says itself is laid over it."""
        if not isinstance(content, Mapping) or "preset" not in content:
            return content
        asked = {key: value for key, value in content.items() if key != "preset"}
        folder = info.context["folder"] if info.context else Path()
        return _laid_over(_preset(str(content["preset"]), folder), asked)

    def worker_memory(self, pool: PoolName) -> int:
        """Bytes that one worker of a pool may use."""
        import psutil

        if jobs := self.jobs(pool):
            return jobs.worker_memory
        if self.memory is not None:
            return parse_bytes(self.memory)
        return int(psutil.virtual_memory().available * 0.9 / self.workers)

    def most_workers(self, pool: PoolName) -> int:
        """How many workers a pool has, at most."""
        if jobs := self.jobs(pool):
            return jobs.maximum
        return max(1, self.gpus) * self.workers_per_gpu if pool == "gpu" else self.workers

    @property
    def has_gpus(self) -> bool:
        """Whether it says that there are GPU workers."""
        if self.kind in DIALECTS:
            return self.pools.gpu is not None
        return self.kind == "local" and self.gpus > 0

    def place(self, directory: Path, memory: int, pools: set[PoolName]) -> Place:
        """What is to be started for a run.

        Args:
            directory: of the run.
            memory: bytes of a worker on this machine.
            pools: that have anything to do.
        """
        sizes = {
            pool: self.jobs(pool) or Pool(self.most_workers(pool), memory, self.workers_per_gpu)
            for pool in sorted(pools)
        }
        return Place(self.kind, sizes, directory, self.interface, self.dashboard)

    def jobs(self, pool: PoolName) -> Jobs | None:
        """What the jobs of a pool are like; None where there are none."""
        if self.kind not in DIALECTS:
            return None
        return (self.pools.gpu or GpuJobs()) if pool == "gpu" else self.pools.cpu

    def driver(self) -> DriverJob:
        """What the driver's job is like."""
        shared = {name: getattr(self.pools.cpu, name) for name in ("partition", "account", "qos")}
        given = self.pools.driver.model_dump(exclude_none=True)
        return DriverJob(**{**shared, **given})


class _Preset(Section):
    cluster: Cluster


def preset_names() -> list[str]:
    """The presets that come with petavox, and one's own."""
    return sorted({file.stem for folder in (_SHIPPED, _own()) for file in folder.glob("*.toml")})


def _own() -> Path:
    return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "petavox"


def _preset(name: str, folder: Path) -> Mapping[str, Any]:
    """What a preset says under [cluster]; one's own come before those that come with petavox."""
    if name.endswith(".toml"):
        found = [folder / Path(name).expanduser()]
    else:
        found = [file for place in (_own(), _SHIPPED) if (file := place / f"{name}.toml").is_file()]
    if not found:
        raise RequestError(
            f"There is no preset '{name}'. There are {', '.join(preset_names())}; one's own lie in {_own()}, or are"
            " named by a path that ends in .toml."
        )
    read = strict_toml.read(found[0], _Preset)
    return read.cluster.model_dump(exclude_unset=True)


def _laid_over(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Two tables as one; where both have a value, the one above counts."""
    merged = {**below, **above}
    for key in below.keys() & above.keys():
        if isinstance(below[key], Mapping) and isinstance(above[key], Mapping):
            merged[key] = _laid_over(below[key], above[key])
    return merged
