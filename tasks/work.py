"""States how much the tasks of a stage have to do, in closed forms of the grid: there is no loop over blocks.

Faces between blocks, and surfaces of octree nodes, are counted in planes through the whole volume. Contacts follow
three densities: of a block's inside, of the faces between blocks, and of what an octree node passes up, which goes with
the surface that it has left open (docs/benchmarks.md: to the power 0.93).
"""

from __future__ import annotations

import itertools
import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, fields

from ..pipeline.geometry import BlockGrid, Box, Octree, Triple, triple
from ..pipeline.networks.patch_grid import Axis, Patches


@dataclass(frozen=True)
class Growth:
    """States how the contact graph grows with the volume: contacts for each voxel, face and surface.

    Args:
        contacts: inside blocks, for each voxel, before small supervoxels join.
        joined: likewise, once they have.
        across: through a face between two blocks, for each voxel of it.
        passed_up: from an octree node to the next level, for each voxel of its open surface.
    """

    contacts: float
    joined: float
    across: float
    passed_up: float


@dataclass(frozen=True)
class Work:
    """Counts the amounts that the cost of tasks goes by.

    Args:
        tasks: how many there are; for the scores, tables that are read.
        voxels: looked at; of faces alone where a task looks at faces.
        contacts: given to the tasks.
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
class Extent(ABC):
    """Measures the part of a volume that some tasks of a stage cover; its kinds say which tasks these are.

    Levels are those of the octree; level 0 is the blocks.

    Args:
        grid: of the blocks.
    """

    grid: BlockGrid

    @abstractmethod
    def tasks(self, level: int = 0) -> int:
        """Counts the tasks of a stage with one task for each node of a level."""

    @abstractmethod
    def voxels(self, inside: Box | None = None) -> int:
        """Counts the voxels of blocks: all of them, or those inside a box."""

    @abstractmethod
    def faces(self) -> int:
        """Counts the voxels on the faces between blocks and those before them."""

    @abstractmethod
    def inner_faces(self, level: int) -> int:
        """Counts the voxels on the faces between the children of nodes of a level."""

    @abstractmethod
    def surface_of_children(self, level: int) -> int:
        """Counts the voxels on those faces of the children of nodes of a level that lie inside the volume."""

    @abstractmethod
    def patch_voxels(self, patches: Patches) -> int:
        """Counts the voxels of the patches that blocks compute: one that counts in two blocks is computed twice."""


@dataclass(frozen=True)
class AllTasks(Extent):
    """Measures what all tasks of a stage cover together."""

    def tasks(self, level: int = 0) -> int:
        return math.prod(Octree(self.grid).shape(level))

    def voxels(self, inside: Box | None = None) -> int:
        return self.grid.covered.voxels if inside is None else inside.voxels

    def faces(self, level: int = 0) -> int:
        """Counts the voxels on the faces between octree nodes of a level."""
        return _planes([n - 1 for n in Octree(self.grid).shape(level)], self.grid.covered.shape)

    def inner_faces(self, level: int) -> int:
        return self.faces(level - 1) - self.faces(level)

    def open_surface(self, level: int = 0) -> int:
        """Counts the voxels on those faces of octree nodes of a level that lie inside the volume."""
        return 2 * self.faces(level)

    def surface_of_children(self, level: int) -> int:
        return self.open_surface(level - 1)

    def patch_voxels(self, patches: Patches) -> int:
        return math.prod(patches.shape) * math.prod(map(sum, _patches_a_block(self.grid, patches)))


@dataclass(frozen=True)
class LargestTask(Extent):
    """Measures what the largest task covers, or more where no task is inside the volume on every side."""

    def tasks(self, level: int = 0) -> int:
        return 1

    def voxels(self, inside: Box | None = None) -> int:
        whole = math.prod(_sides(self.grid, 0))
        return whole if inside is None else min(whole, inside.voxels)

    def faces(self) -> int:
        return _planes([min(1, n - 1) for n in self.grid.shape], _sides(self.grid, 0))

    def inner_faces(self, level: int) -> int:
        octree = Octree(self.grid)
        children = map(min, octree.children_a_side(level), octree.shape(level - 1))
        return _planes([n - 1 for n in children], _sides(self.grid, level))

    def surface_of_children(self, level: int) -> int:
        return Octree(self.grid).most_surface_of_children(level)

    def patch_voxels(self, patches: Patches) -> int:
        return math.prod(patches.shape) * math.prod(map(max, _patches_a_block(self.grid, patches)))


@dataclass(frozen=True)
class OneTask(Extent):
    """Measures what one task covers.

    Args:
        index: of the task's block, or of its octree node.
    """

    index: Triple

    def tasks(self, level: int = 0) -> int:
        return 1

    def voxels(self, inside: Box | None = None) -> int:
        box = self.grid.box(self.index)
        return (box if inside is None else box.intersect(inside)).voxels

    def faces(self) -> int:
        return _planes([min(1, i) for i in self.index], self.grid.box(self.index).shape)

    def open_surface(self) -> int:
        """Counts the voxels on those faces of the block that lie inside the volume."""
        return Octree(self.grid).open_surface(0, self.index)

    def inner_faces(self, level: int) -> int:
        octree = Octree(self.grid)
        children = zip(*octree.children(level, self.index), strict=True)
        return _planes([len(set(along)) - 1 for along in children], octree.box(level, self.index).shape)

    def surface_of_children(self, level: int) -> int:
        return Octree(self.grid).surface_of_children(level, self.index)

    def patch_voxels(self, patches: Patches) -> int:
        return patches.over(self.grid.volume).computed(self.grid.box(self.index))


def given_to_node(extent: Extent, level: int, growth: Growth) -> float:
    """Counts the contacts that octree nodes of a level start from.

    At level 0 these are the blocks' own; further up what children pass up, and those through the faces between them.
    """
    if level == 0:
        return growth.joined * extent.voxels()
    return growth.passed_up * extent.surface_of_children(level) + growth.across * extent.inner_faces(level)


def patches_in_blocks(axis: Axis, start: int, stop: int, block: int) -> list[int]:
    """Counts the patches along an axis that count in each block, from one voxel to the end of what blocks cover."""
    cuts = [start, *range((start // block + 1) * block, stop, block), stop]
    return [len(axis.counting(a, b)) for a, b in itertools.pairwise(cuts)]


def _patches_a_block(grid: BlockGrid, patches: Patches) -> list[list[int]]:
    axes = zip(patches.over(grid.volume).axes, grid.covered.start, grid.covered.stop, grid.block, strict=True)
    return [patches_in_blocks(axis, start, stop, block) for axis, start, stop, block in axes]


def _planes(planes: Sequence[int], sides: Triple) -> int:
    """Counts the voxels of so many planes across each axis of a box."""
    return sum(n * math.prod(sides) // side for n, side in zip(planes, sides, strict=True))


def _sides(grid: BlockGrid, level: int) -> Triple:
    """Returns the shape of the largest octree node of a level, in voxels."""
    spans = Octree(grid).spans[level]
    return triple([min(b * n, v) for b, n, v in zip(grid.block, spans, grid.covered.shape, strict=True)])
