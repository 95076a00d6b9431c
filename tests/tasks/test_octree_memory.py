"""Octree nodes state the memory of the octree that they are in: at every level of any volume, and not much more."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from petavox.pipeline.geometry import BlockGrid, Octree
from petavox.tasks import agglomerate, assign
from petavox.tasks.contract import Density

VOLUMES = {
    "two blocks": BlockGrid((64, 512, 600), (64, 512, 512)),
    "thin slab": BlockGrid((100, 40_000, 40_000), (64, 512, 512)),
    "thin wall": BlockGrid((5_000, 300, 20_000), (64, 512, 512)),
    "cube": BlockGrid((5_000, 20_000, 20_000), (64, 512, 512)),
    "10^15 voxels": BlockGrid((100_000,) * 3, (128, 512, 512)),
    "10^15 voxels, flat": BlockGrid((10_000, 320_000, 312_500), (64, 1024, 1024)),
}
GRIDS = st.builds(BlockGrid, st.tuples(*[st.integers(1, 60)] * 3), st.tuples(*[st.integers(2, 9)] * 3))


def surfaces_of_children(octree: Octree, level: int) -> np.ndarray:
    """(Z, Y, X) for each node of a level, the voxels on those faces of its children that lie inside the volume."""
    lengths, planes, nodes = [], [], []
    for axis in range(3):
        volume, side = octree.grid.volume[axis], octree.spans[level - 1][axis] * octree.grid.block[axis]
        starts = np.arange(0, volume, side)
        stops = np.minimum(starts + side, volume)
        lengths.append(stops - starts)
        planes.append((starts > 0).astype(np.int64) + (stops < volume))
        nodes.append(np.arange(0, len(starts), octree.children_a_side(level)[axis]))
    total = 0
    for across in range(3):
        along = [planes[axis] if axis == across else lengths[axis] for axis in range(3)]
        z, y, x = (np.add.reduceat(values, first) for values, first in zip(along, nodes, strict=True))
        total = total + z[:, None, None] * y[:, None] * x
    return total


def stated(task, grid: BlockGrid, level: int, **settings: object) -> float:
    """Bytes that a task of a level states for one contact through each voxel of an open face."""
    config = task.Config(volume=grid.volume, block=grid.block, level=level, tables="t", **settings)
    one, two = (task.resources(config, Density(crossing=crossing)).memory for crossing in (1.0, 2.0))
    return two - one


def merging(grid: BlockGrid, level: int) -> float:
    return stated(agglomerate, grid, level, threshold="0.5", leaves="t")


PAIR = BlockGrid((4, 4, 8), (4, 4, 4))  # one face of 16 voxels, open on both of its sides
CHAIN = BlockGrid((1, 1, 9), (1, 1, 1))  # the first node has 15 open faces between its children, the root 2
A_MERGING_VOXEL = merging(PAIR, 1) / 32
AN_ASSIGNED_VOXEL = stated(assign, PAIR, 1) / 32
A_PARENTS_VOXEL = (stated(assign, CHAIN, 1) - 15 * AN_ASSIGNED_VOXEL) / 2


def check(grid: BlockGrid) -> None:
    octree = Octree(grid)
    for level in range(1, octree.height + 1):
        here = surfaces_of_children(octree, level)
        assert here.shape == octree.shape(level)
        assert 1 <= merging(grid, level) / (here.max() * A_MERGING_VOXEL) <= 1.5
        needed = here * AN_ASSIGNED_VOXEL
        if level < octree.height:
            above = surfaces_of_children(octree, level + 1)
            for axis, children in enumerate(octree.children_a_side(level + 1)):
                above = above.repeat(children, axis).take(range(here.shape[axis]), axis)
            needed = needed + above * A_PARENTS_VOXEL
        assert 1 <= stated(assign, grid, level) / needed.max() <= 1.5


@given(GRIDS)
def test_nodes_of_small_volumes_state_at_least_what_they_need_and_at_most_half_as_much_again(grid):
    check(grid)


@pytest.mark.parametrize("grid", VOLUMES.values(), ids=VOLUMES)
def test_so_do_nodes_of_slabs_cubes_and_petavoxels(grid):
    assert math.prod(grid.volume) < 1.1e15
    check(grid)


@given(GRIDS)
def test_the_open_surface_of_children_adds_up_node_by_node(grid):
    octree = Octree(grid)
    for level in range(1, octree.height + 1):
        expected = surfaces_of_children(octree, level)
        for index in np.ndindex(expected.shape):
            assert octree.surface_of_children(level, index) == expected[index]
        assert octree.most_surface_of_children(level) == expected.max()
