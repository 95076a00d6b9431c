"""[cluster] of a recipe: where tasks run, and the presets that describe clusters by name."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import NonNegativeInt, PositiveInt, ValidationInfo, model_validator

from ...cluster import ClusterSpec, PoolName, PoolSpec
from ...cluster.batch import DIALECTS
from ...cluster.batch.jobs import DriverJob, GpuJobs, Jobs
from ...cluster.quantities import Size, parse_bytes
from ...pipeline.errors import RequestError
from . import strict_toml
from .strict_toml import Section

_SHIPPED = Path(__file__).parent / "presets"


class Pools(Section):
    """Describes the jobs on a batch system, and how many there may be.

    Args:
        cpu: Jobs that compute everything but the network.
        gpu: Jobs that run the network, unless `model.device` is "cpu". Without this table they exist only with "cuda".
        driver: The job of the driver that `petavox submit` makes. Partition, account and qos are those of `cpu` unless
            given.
    """

    cpu: Jobs = Jobs()
    gpu: GpuJobs | None = None
    driver: DriverJob = DriverJob()


class Cluster(Section):
    """Says where tasks run.

    Args:
        preset: A description of a cluster: the name of a preset, or a path that ends in .toml. Other keys of this table
            win over the preset's.
        kind: "local": processes of this machine. "serial": this process alone. "slurm": jobs of SLURM.
        workers: Worker processes on this machine.
        gpus: GPUs of this machine whose workers run the network. With `model.device` = "cuda" there is at least one.
        workers_per_gpu: Worker processes that share a GPU: one reads and writes while another computes.
        memory: Memory of one worker on this machine; a worker that uses more is killed and replaced. Default: an equal
            share of the free memory.
        pools: The jobs of each kind of worker, on a batch system.
        interface: Network between the nodes of a cluster, such as "ib0". Default: the network of the default route.
        dashboard: Address where the driver on a cluster shows what Dask does. Port 0 is any free port.
    """

    preset: str | None = None
    kind: Literal["serial", "local", "slurm"] = "local"
    workers: PositiveInt = 2
    gpus: NonNegativeInt = 0
    workers_per_gpu: PositiveInt = 1
    memory: Size | None = None
    pools: Pools = Pools()
    interface: str | None = None
    dashboard: str = "127.0.0.1:0"

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
        """Counts the bytes that one worker of a pool may use."""
        import psutil

        if jobs := self.jobs(pool):
            return jobs.worker_memory
        if self.memory is not None:
            return parse_bytes(self.memory)
        return int(psutil.virtual_memory().available * 0.9 / self.workers)

    def most_workers(self, pool: PoolName) -> int:
        """Counts the workers that a pool has at most."""
        if jobs := self.jobs(pool):
            return jobs.maximum
        return max(1, self.gpus) * self.workers_per_gpu if pool == "gpu" else self.workers

    @property
    def has_gpus(self) -> bool:
        """Tells whether the section names GPU workers."""
        if self.kind in DIALECTS:
            return self.pools.gpu is not None
        return self.kind == "local" and self.gpus > 0

    def spec(self, directory: Path, memory: int, pools: set[PoolName]) -> ClusterSpec:
        """Describes the workers that are to be started for a run.

        Args:
            directory: directory of the run.
            memory: bytes of a worker on this machine.
            pools: pools that have anything to do.
        """
        sizes = {
            pool: self.jobs(pool) or PoolSpec(self.most_workers(pool), memory, self.workers_per_gpu)
            for pool in sorted(pools)
        }
        return ClusterSpec(self.kind, sizes, directory, self.interface, self.dashboard)

    def jobs(self, pool: PoolName) -> Jobs | None:
        """Describes the jobs of a pool; None where there are none."""
        if self.kind not in DIALECTS:
            return None
        return (self.pools.gpu or GpuJobs()) if pool == "gpu" else self.pools.cpu

    def driver(self) -> DriverJob:
        """Describes the driver's job."""
        shared = {name: getattr(self.pools.cpu, name) for name in ("partition", "account", "qos")}
        given = self.pools.driver.model_dump(exclude_none=True)
        return DriverJob(**{**shared, **given})


class _Preset(Section):
    cluster: Cluster


def preset_names() -> list[str]:
    """Lists the presets that come with petavox, and one's own."""
    return sorted({file.stem for folder in (_SHIPPED, _own()) for file in folder.glob("*.toml")})


def _own() -> Path:
    return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "petavox"


def _preset(name: str, folder: Path) -> Mapping[str, Any]:
    """Reads the [cluster] of a preset; one's own come before those that come with petavox."""
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
