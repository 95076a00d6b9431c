"""Boxes, grids and the octree say the same thing whichever way they are asked."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from petavox.pipeline.errors import RequestError
from petavox.pipeline.geometry import BlockGrid, Box, Octree

coordinates = st.tuples(*[st.integers(-20, 20)] * 3)
shapes = st.tuples(*[st.integers(1, 9)] * 3)


@st.composite
def boxes(draw):
    return Box.of_shape(draw(shapes), draw(coordinates))


@st.composite
def grids(draw):
    return BlockGrid(draw(st.tuples(*[st.integers(1, 24)] * 3)), draw(shapes))


@given(boxes(), boxes())
def test_the_intersection_holds_exactly_the_common_voxels(a, b):
    def voxels(box):
        return set(itertools.product(*(range(s, e) for s, e in zip(box.start, box.stop, strict=True))))

    common = a.intersect(b)
    assert voxels(common) == voxels(a) & voxels(b)
    assert common.is_empty or (a.contains(common) and b.contains(common))


@given(boxes(), st.tuples(*[st.integers(0, 4)] * 3))
def test_growing_and_shifting_move_the_corners(box, margin):
    assert box.grow(margin).shape == tuple(s + 2 * m for s, m in zip(box.shape, margin, strict=True))
    assert box.shift(margin).shape == box.shape
    assert box.shift(margin).slices(margin) == box.slices()


@given(grids())
def test_blocks_tile_the_volume_without_overlap(grid):
    hits = np.zeros(grid.volume, dtype=int)
    for number, index in enumerate(grid.indices()):
        hits[grid.box(index).slices()] += 1
        assert grid.linear(index) == number
        assert grid.unravel(number) == index
    assert (hits == 1).all()


@given(grids(), boxes())
def test_touching_blocks_are_those_that_share_a_voxel(grid, box):
    assert set(grid.touching(box)) == {i for i in grid.indices() if not grid.box(i).intersect(box).is_empty}


@given(st.tuples(*[st.integers(1, 9)] * 3))
def test_every_face_between_blocks_lies_inside_exactly_one_octree_node(leaves):
    tree = Octree(leaves)
    faces = [
        face
        for level in range(1, tree.height + 1)
        for node in BlockGrid(tree.shape(level), (1, 1, 1)).indices()
        for face in tree.inner_faces(level, node)
    ]
    blocks = list(BlockGrid(leaves, (1, 1, 1)).indices())
    assert sorted(faces) == sorted((axis, block) for axis in range(3) for block in blocks if block[axis] > 0)


@given(st.tuples(*[st.integers(1, 9)] * 3))
def test_children_and_parents_agree_up_to_a_single_root(leaves):
    tree = Octree(leaves)
    assert tree.shape(0) == leaves
    assert tree.shape(tree.height) == (1, 1, 1)
    for level in range(1, tree.height + 1):
        nodes = list(BlockGrid(tree.shape(level), (1, 1, 1)).indices())
        children = [(child, node) for node in nodes for child in tree.children(level, node)]
        assert all(tree.parent(child) == node for child, node in children)
        assert sorted(child for child, _ in children) == list(BlockGrid(tree.shape(level - 1), (1, 1, 1)).indices())


def test_sizes_below_one_are_refused():
    with pytest.raises(RequestError, match="at least 1"):
        BlockGrid((4, 4, 4), (0, 1, 1))
    with pytest.raises(RequestError, match="three integers"):
        Box.of_shape((4, 4))
