"""Boxes, grids and the octree say the same thing whichever way they are asked."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from petavox.pipeline.errors import RequestError
from petavox.pipeline.geometry import BlockGrid, Box, Octree
from twins import regions

coordinates = st.tuples(*[st.integers(-20, 20)] * 3)
shapes = st.tuples(*[st.integers(1, 9)] * 3)


@st.composite
def boxes(draw):
    return Box.of_shape(draw(shapes), draw(coordinates))


@st.composite
def grids(draw):
    volume = draw(st.tuples(*[st.integers(1, 24)] * 3))
    return BlockGrid(volume, draw(shapes), draw(st.none() | regions(volume)))


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


@given(boxes(), st.integers(1, 7))
def test_slabs_make_up_a_box_and_are_cut_at_multiples_of_their_depth(box, depth):
    assume(not box.is_empty)
    slabs = list(box.slabs(depth))
    assert [z for slab in slabs for z in range(slab.start[0], slab.stop[0])] == list(range(box.start[0], box.stop[0]))
    assert all(slab.stop[0] % depth == 0 for slab in slabs[:-1])
    assert all(slab.start[1:] == box.start[1:] and slab.stop[1:] == box.stop[1:] for slab in slabs)


@given(grids())
def test_blocks_tile_the_volume_or_its_region_without_overlap(grid):
    hits = np.zeros(grid.volume, dtype=int)
    for number, index in enumerate(grid.indices()):
        hits[grid.box(index).slices()] += 1
        assert grid.linear(index) == number
        assert grid.unravel(number) == index
    assert (hits[grid.covered.slices()] == 1).all()
    assert hits.sum() == grid.covered.voxels


@given(grids())
def test_blocks_of_a_region_are_those_of_the_volume_cut_at_its_ends(grid):
    whole = BlockGrid(grid.volume, grid.block)
    cut = [whole.box(index).intersect(grid.covered) for index in whole.touching(grid.covered)]
    assert [grid.box(index) for index in grid.indices()] == cut


@pytest.mark.parametrize("region", [Box((0, 0, 0), (4, 4, 5)), Box((0, 2, 0), (4, 2, 4)), Box((3, 0, 0), (2, 4, 4))])
def test_a_region_that_is_empty_or_leaves_the_volume_is_refused(region):
    with pytest.raises(RequestError, match="inside the volume and hold a voxel"):
        BlockGrid((4, 4, 4), (2, 2, 2), region)


@given(grids(), boxes())
def test_touching_blocks_are_those_that_share_a_voxel(grid, box):
    assert set(grid.touching(box)) == {i for i in grid.indices() if not grid.box(i).intersect(box).is_empty}


OCTREES = st.builds(
    Octree,
    st.builds(BlockGrid, st.tuples(*[st.integers(1, 40)] * 3), st.tuples(*[st.integers(4, 9)] * 3)),
    st.sampled_from([1, 3000, 1 << 36]),
)


def nodes(tree, level):
    return list(BlockGrid(tree.shape(level), (1, 1, 1)).indices())


@given(OCTREES)
def test_every_face_between_blocks_lies_inside_exactly_one_octree_node(tree):
    faces = [
        face
        for level in range(1, tree.height + 1)
        for node in nodes(tree, level)
        for face in tree.inner_faces(level, node)
    ]
    blocks = list(tree.grid.indices())
    assert sorted(faces) == sorted((axis, block) for axis in range(3) for block in blocks if block[axis] > 0)


@given(OCTREES)
def test_children_and_parents_agree_up_to_a_single_root(tree):
    assert tree.shape(0) == tree.grid.shape
    assert tree.shape(tree.height) == (1, 1, 1)
    for level in range(1, tree.height + 1):
        children = [(child, node) for node in nodes(tree, level) for child in tree.children(level, node)]
        assert all(tree.parent(level - 1, child) == node for child, node in children)
        assert sorted(child for child, _ in children) == nodes(tree, level - 1)
        assert max(math.prod(tree.children_a_side(level)) for level in range(1, tree.height + 1)) <= 8


@given(OCTREES)
def test_siblings_are_the_neighbours_with_the_same_parent(tree):
    for level in range(tree.height):
        present = set(nodes(tree, level))
        for node in present:
            beyond = {
                (axis, above): tuple(i + (k == axis) * (1 if above else -1) for k, i in enumerate(node))
                for axis in range(3)
                for above in (False, True)
            }
            expected = {
                side
                for side, other in beyond.items()
                if other in present and tree.parent(level, other) == tree.parent(level, node)
            }
            assert set(tree.siblings(level, node)) == expected


def test_large_nodes_have_two_children_and_no_node_is_longer_than_twice_its_width():
    tree = Octree(BlockGrid((40_960, 156_250, 156_250), (64, 512, 512)))
    for level in range(1, tree.height + 1):
        sides = [a * b for a, b in zip(tree.spans[level], tree.grid.block, strict=True)]
        below = math.prod(a * b for a, b in zip(tree.spans[level - 1], tree.grid.block, strict=True))
        assert math.prod(tree.children_a_side(level)) == (2 if below >= tree.large else 8)
        if sides[0] < 40_960:
            assert max(sides) <= 2 * min(sides)


def test_sizes_below_one_are_refused():
    with pytest.raises(RequestError, match="at least 1"):
        BlockGrid((4, 4, 4), (0, 1, 1))
    with pytest.raises(RequestError, match="three integers"):
        Box.of_shape((4, 4))
