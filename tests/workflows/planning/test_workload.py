"""The work of stages in closed form is what a loop over all blocks and nodes adds up to."""

import math

from hypothesis import given
from hypothesis import strategies as st

from petavox.pipeline.geometry import BlockGrid, Octree
from petavox.workflows.planning import workload

GRIDS = st.builds(
    BlockGrid,
    st.tuples(*[st.integers(1, 14)] * 3),
    st.tuples(*[st.integers(1, 5)] * 3),
)


def nodes(grid, level):
    """(box in voxels, index, nodes along each axis) of every octree node of a level."""
    octree = Octree(grid)
    shape = octree.shape(level)
    for index in BlockGrid(shape, (1, 1, 1)).indices():
        span = octree.leaf_span(level, index)
        first, last = grid.box(span.start), grid.box(tuple(s - 1 for s in span.stop))
        yield tuple(b - a for a, b in zip(first.start, last.stop, strict=True)), index, shape


def area(sides, axis):
    return math.prod(side for i, side in enumerate(sides) if i != axis)


@given(GRIDS)
def test_open_surfaces_are_those_of_all_nodes(grid):
    for level in range(Octree(grid).height + 1):
        surfaces = [
            sum(area(sides, axis) * ((index[axis] > 0) + (index[axis] + 1 < shape[axis])) for axis in range(3))
            for sides, index, shape in nodes(grid, level)
        ]
        assert workload.open_surface(grid, level) == sum(surfaces)


@given(GRIDS)
def test_faces_between_children_are_those_that_the_octree_lists(grid):
    octree = Octree(grid)
    for level in range(1, octree.height + 1):
        inner = [
            sum(area(grid.box(block).shape, axis) for axis, block in octree.inner_faces(level, index))
            for _, index, _ in nodes(grid, level)
        ]
        assert workload.inner_faces(grid, level, False) == sum(inner)
        assert workload.inner_faces(grid, level, True) >= max(inner)


@given(GRIDS)
def test_every_face_is_closed_once_on_the_way_up(grid):
    height = Octree(grid).height
    assert workload.between(grid, 0, False) == sum(
        workload.inner_faces(grid, level, False) for level in range(1, height + 1)
    )
    assert workload.open_surface(grid, height) == 0


@given(GRIDS)
def test_faces_of_single_blocks_add_up(grid):
    blocks = list(grid.indices())
    assert workload.between(grid, 0, False) == sum(workload.faces_before(grid, index) for index in blocks)
