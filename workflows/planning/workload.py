"""Counts the work of each stage: tasks, voxels, contacts, operations. Closed forms of the grid, no loop over blocks.

Faces between blocks, and surfaces of octree nodes, are counted in planes through the whole volume. Contacts follow
three densities: of a block's inside, of the faces between blocks, and of what an octree node passes up, which goes with
the surface that it has left open (docs/benchmarks.md: to the power 0.93).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Any

from ...pipeline.geometry import BlockGrid, Box, Octree, Triple
from ...pipeline.networks.patch_grid import Patches
from ..stages.stage import Stage
from .patch_cost import computed


@dataclass(frozen=True)
class Growth:
    """States how the contact graph grows with the volume: contacts for each voxel, face and surface.

    Args:
        contacts: inside blocks, for each voxel, before small supervoxels join.
        joined: contacts inside blocks, for each voxel, once small supervoxels have joined.
        across: through a face between two blocks, for each voxel of it.
        passed_up: from an octree node to the next level, for each voxel of its open surface.
    """

    contacts: float
    joined: float
    across: float
    passed_up: float


@dataclass(frozen=True)
class Work:
    """Counts the amounts that the cost of a task goes by.

    Args:
        tasks: tasks of the stage; for the scores, tables that are read.
        voxels: looked at; of faces alone where a task looks at faces.
        contacts: given to the stage.
        seen: voxels of all patches that a network is given.
        operations: floating-point operations of a network.
    """

    tasks: float = 0.0
    voxels: float = 0.0
    contacts: float = 0.0
    seen: float = 0.0
    operations: float = 0.0


AMOUNTS = tuple(field.name for field in fields(Work))


@dataclass(frozen=True)
class Workload:
    """Holds the work of every stage of a run, in all and in its largest task.

    Args:
        grid: grid of the blocks.
        growth: growth of the contact graph.
        operations: operations of the network for a voxel of a patch; 0 without one.
        patches: patches of the network, if there is one.
    """

    grid: BlockGrid
    growth: Growth
    operations: float = 0.0
    patches: Patches | None = None

    def total(self, stage: Stage) -> Work:
        """Returns the work of all tasks of a stage together."""
        return self._work(stage, largest=False)

    def largest(self, stage: Stage) -> Work:
        """Returns the work of the largest task, or more where no task is inside the volume on every side."""
        return self._work(stage, largest=True)

    def _work(self, stage: Stage, *, largest: bool) -> Work:
        tasks = 1 if largest else len(stage)
        voxels = self._block if largest else self.grid.covered.voxels
        if stage.task == "predict" and self.patches is not None:
            patches = computed(self.grid, self.patches, largest)
            return Work(tasks, voxels, 0, patches, self.operations * patches)
        if stage.task == "faces":
            face = between(self.grid, 0, largest)
            return Work(tasks, face, self.growth.across * face)
        if stage.task in ("agglomerate", "assign"):
            level = _level(stage)
            return Work(tasks, 0, self.growth.joined * voxels if level == 0 else self._given(level, largest))
        if stage.task in ("contingency", "scores"):
            return self._scored(stage, tasks, largest)
        if stage.task == "relabel":
            return Work(tasks, voxels, self.growth.joined * voxels)
        return Work(tasks, voxels, self.growth.contacts * voxels)

    @property
    def _block(self) -> int:
        return math.prod(min(b, v) for b, v in zip(self.grid.block, self.grid.covered.shape, strict=True))

    def _given(self, level: int, largest: bool) -> float:
        """Contacts that octree nodes of a level start from: what children pass up, and the faces between these."""
        octree = Octree(self.grid)
        surface = octree.most_surface_of_children(level) if largest else open_surface(self.grid, level - 1)
        return self.growth.passed_up * surface + self.growth.across * inner_faces(self.grid, level, largest)

    def _scored(self, stage: Stage, tasks: float, largest: bool) -> Work:
        config: Any = stage.config
        config = getattr(config, "contingency", config)
        scored = Box(config.start, config.stop).voxels
        if stage.task == "scores":
            blocks = (-(-b // n) - a // n for a, b, n in zip(config.start, config.stop, self.grid.block, strict=True))
            return Work(math.prod(blocks), scored)
        return Work(tasks, min(scored, self._block) if largest else scored)


def kind_of(stage: Stage) -> str:
    """Names the kind of a stage, by which its costs are known: leaves of the octree cost otherwise than upper nodes."""
    return "agglomerate-0" if stage.task == "agglomerate" and _level(stage) == 0 else stage.task


def between(grid: BlockGrid, level: int, largest: bool) -> int:
    """Counts voxels of the faces between octree nodes of a level: of all, or of one node to the nodes before it."""
    shape = Octree(grid).shape(level)
    planes = [min(1, n - 1) if largest else n - 1 for n in shape]
    return _planes(planes, _sides(grid, level) if largest else grid.covered.shape)


def inner_faces(grid: BlockGrid, level: int, largest: bool) -> int:
    """Counts voxels of the faces between the children of octree nodes of a level: of all nodes, or of the largest."""
    octree = Octree(grid)
    if largest:
        return _planes([n - 1 for n in _children(grid, level)], _sides(grid, level))
    here, below = octree.shape(level), octree.shape(level - 1)
    return _planes([b - h for b, h in zip(below, here, strict=True)], grid.covered.shape)


def open_surface(grid: BlockGrid, level: int) -> int:
    """Counts voxels on those faces of all octree nodes of a level that lie inside the volume."""
    return 2 * between(grid, level, False)


def faces_before(grid: BlockGrid, index: Triple) -> int:
    """Counts voxels on the faces between one block and those before it."""
    return _planes([min(1, i) for i in index], grid.box(index).shape)


def _planes(planes: list[int], sides: Triple) -> int:
    """Voxels of so many planes across each axis."""
    return sum(n * math.prod(sides) // side for n, side in zip(planes, sides, strict=True))


def _children(grid: BlockGrid, level: int) -> Triple:
    """Counts the children of the largest octree node of a level along each axis."""
    octree = Octree(grid)
    z, y, x = map(min, octree.children_a_side(level), octree.shape(level - 1))
    return z, y, x


def _sides(grid: BlockGrid, level: int) -> Triple:
    lengths = zip(grid.block, Octree(grid).spans[level], grid.covered.shape, strict=True)
    z, y, x = (min(b * n, v) for b, n, v in lengths)
    return z, y, x


def _level(stage: Stage) -> int:
    config: Any = stage.config
    return int(config.level)
