"""A stage: one task over a grid of indices, and which tasks of other stages each of its tasks needs."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from ...pipeline.geometry import Triple, linear, unravel
from ...pipeline.volumes import VolumeSpec
from ...tasks.contract import Resources, TaskConfig

Needs = Mapping[str, Callable[[Triple], Iterable[Triple]]]


@dataclass(frozen=True)
class Whole:
    """Marks a stage of which every index is needed; known by its type, so that nobody has to look at each."""

    grid: Triple

    def __call__(self, index: Triple) -> Iterator[Triple]:
        nz, ny, nx = self.grid
        return ((z, y, x) for z in range(nz) for y in range(ny) for x in range(nx))


@dataclass(frozen=True)
class Frame:
    """Describes what all volumes of a run have in common: shape, voxel size, position, and how they are stored.

    Args:
        source: the volume that the run starts from.
        chunk, shard: of the volumes that the run makes.
    """

    source: VolumeSpec
    chunk: Triple
    shard: Triple | None

    def labels(self, dtype: str) -> VolumeSpec:
        """Describes a volume with one value for each voxel."""
        source = self.source
        return VolumeSpec(
            source.shape, dtype, source.voxel_size, source.translation, chunk=self.chunk, shard=self.shard
        )


@dataclass(frozen=True)
class Stage:
    """Describes one arrow of a run: one task over a grid of indices.

    Args:
        name: unique in the run; shown to the user.
        task: name of the task in `tasks`.
        version: version of the code that computes the result.
        config: config that every task of the stage is given.
        grid: number of tasks along each axis.
        needs: indices that a task of this stage needs of each earlier stage, or `Whole`.
        resources: memory and cores that one task takes.
        outputs: volumes and folders that this stage alone writes.
        volumes: those of them that are made before any task runs, by path.
    """

    name: str
    task: str
    version: int
    config: TaskConfig
    grid: Triple
    needs: Needs = field(default_factory=dict)
    resources: Resources = Resources(0)  # noqa: RUF009 - frozen
    outputs: tuple[str, ...] = ()
    volumes: Mapping[str, VolumeSpec] = field(default_factory=dict)

    def __len__(self) -> int:
        return math.prod(self.grid)

    def number(self, index: Triple) -> int:
        """Returns a task's place among those of the stage, z slowest."""
        return linear(self.grid, index)

    def index(self, number: int) -> Triple:
        """Returns the index of the task in a place."""
        return unravel(self.grid, number)

    def depends(self, index: Triple) -> Iterator[tuple[str, Triple]]:
        """Returns the tasks that must be done before the one at `index`."""
        for stage, indices in self.needs.items():
            for needed in indices(index):
                yield stage, needed
