"""Defines a task: a strict config, a block index, a small Outcome, and the resources that it states in advance."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from ..pipeline.geometry import BlockGrid, Box, Triple


class TaskConfig(BaseModel):
    """Is the base of every task's config: frozen, and an unknown key is an error. Paths are absolute strings."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class GridConfig(TaskConfig):
    """Is the base of the configs of tasks over blocks.

    Args:
        volume: shape of the volume, voxels.
        block: shape of a block.
        region: the voxels that blocks cover; all of the volume unless given.
    """

    volume: Triple
    block: Triple
    region: Box | None = Field(default=None, exclude_if=lambda box: box is None)

    @property
    def grid(self) -> BlockGrid:
        """Returns the blocks."""
        return BlockGrid(self.volume, self.block, self.region)


@dataclass(frozen=True)
class Density:
    """States how dense supervoxels and their contacts are, by which the sizes of tables and graphs are stated.

    The defaults are those of noisy affinities of SNEMI3D with high = 0.9999; smoother affinities and a lower `high`
    have a tenth of them.

    Args:
        fragments, contacts: for each voxel, before small supervoxels join.
        clusters, joined: supervoxels and contacts for each voxel, once they have.
        crossing: contacts through a plane for each of its voxels, once they have.
    """

    fragments: float = 0.1
    contacts: float = 0.46
    clusters: float = 0.02
    joined: float = 0.004
    crossing: float = 0.02

    @property
    def cut(self) -> float:
        """Counts the small supervoxels that a face between two blocks cuts, for each voxel of the face."""
        return float(self.fragments ** (2 / 3))


CUDA_BYTES = 2_500_000_000
"""What a GPU's driver and libraries take in a process: the largest of a run held 1.85 GB in all, on an H200."""


def at_level(task: str, level: int) -> str:
    """Returns the name of the stage, and of the folder of tables, of a task at a level of the octree."""
    return f"{task}-{level}"


GrowsWith = Literal["block", "node", "scored box"]
"""What the memory of a task grows with: its block, the contacts of its octree node, or all that is scored."""


@dataclass(frozen=True)
class Resources:
    """States the memory and the cores that one task needs while it runs.

    Args:
        memory: peak bytes of the process that the task adds, arrays and scratch.
        grows_with: what makes the memory larger, so that a plan that lacks memory can name the cure.
        threads: cores that it can use.
        gpu: whether it runs on a GPU worker.
    """

    memory: int
    threads: int = 1
    gpu: bool = False
    grows_with: GrowsWith = "block"

    def on_gpu(self) -> Resources:
        """Adds the memory of a GPU worker, whose driver and libraries take some besides."""
        return replace(self, gpu=True, memory=self.memory + CUDA_BYTES)


@dataclass(frozen=True)
class Outcome:
    """Reports a task to the driver: never arrays, always small.

    Args:
        state: "done"; "empty" where there was nothing in the data; "masked" where nothing was asked for. Nothing was
            written where it is not "done".
        voxels: voxels of the block, for rates.
        counts: named integers worth adding up over blocks (supervoxels, contacts, merges, bytes …).
        checksum: of what the task left, as it was before it was encoded: see `checksums.packed`, one for each of the
            task's pieces in their order; None where it left nothing.
    """

    state: Literal["done", "empty", "masked"] = "done"
    voxels: int = 0
    counts: dict[str, int] = field(default_factory=dict)
    checksum: int | None = None
