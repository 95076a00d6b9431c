"""The work of stages in closed form is what a loop over all blocks and nodes adds up to."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from petavox import tasks
from petavox.pipeline.geometry import BlockGrid, Box, Octree
from petavox.tasks import agglomerate, assign, contingency, faces, relabel, scores, supervoxels
from petavox.tasks.work import AMOUNTS, AllTasks, Growth, LargestTask, OneTask

GRIDS = st.builds(
    BlockGrid,
    st.tuples(*[st.integers(1, 14)] * 3),
    st.tuples(*[st.integers(1, 5)] * 3),
)
GROWTHS = st.builds(Growth, *[st.floats(0, 1)] * 4)
NO_GROWTH = Growth(0, 0, 0, 0)


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
        assert AllTasks(grid).open_surface(level) == sum(surfaces)


@given(GRIDS)
def test_faces_between_children_are_those_that_the_octree_lists(grid):
    octree = Octree(grid)
    for level in range(1, octree.height + 1):
        inner = {
            index: sum(area(grid.box(block).shape, axis) for axis, block in octree.inner_faces(level, index))
            for _, index, _ in nodes(grid, level)
        }
        assert {index: OneTask(grid, index).inner_faces(level) for index in inner} == inner
        assert AllTasks(grid).inner_faces(level) == sum(inner.values())
        assert LargestTask(grid).inner_faces(level) >= max(inner.values())


@given(GRIDS)
def test_every_face_is_closed_once_on_the_way_up(grid):
    height = Octree(grid).height
    whole = AllTasks(grid)
    assert whole.faces() == sum(whole.inner_faces(level) for level in range(1, height + 1))
    assert whole.open_surface(height) == 0


@given(GRIDS, GROWTHS)
def test_the_work_of_single_tasks_adds_up_and_none_has_more_than_the_largest(grid, growth):
    geometry = {"volume": grid.volume, "block": grid.block}
    configs = {
        supervoxels: [supervoxels.Config(**geometry, affinities="", low="0", high="1", fragments="", tables="")],
        faces: [faces.Config(**geometry, tables="")],
        relabel: [relabel.Config(**geometry, fragments="", segmentation="", leaves="", tables="")],
        agglomerate: [
            agglomerate.Config(**geometry, level=level, threshold="0.5", leaves="", tables="")
            for level in range(Octree(grid).height + 1)
        ],
        assign: [assign.Config(**geometry, level=level, tables="") for level in range(1, Octree(grid).height + 1)],
    }
    for task, config in ((task, config) for task, several in configs.items() for config in several):
        indices = BlockGrid(Octree(grid).shape(getattr(config, "level", 0)), (1, 1, 1)).indices()
        single = [task.work(config, OneTask(grid, index), growth) for index in indices]
        whole, largest = (task.work(config, extent(grid), growth) for extent in (AllTasks, LargestTask))
        for amount in AMOUNTS:
            of_each = [getattr(work, amount) for work in single]
            assert getattr(whole, amount) == pytest.approx(sum(of_each))
            assert getattr(largest, amount) >= max(of_each) * (1 - 1e-9)


@given(GRIDS, st.data())
def test_scored_voxels_are_those_of_the_box(grid, data):
    start = tuple(data.draw(st.integers(0, n - 1)) for n in grid.volume)
    stop = tuple(data.draw(st.integers(a + 1, n)) for a, n in zip(start, grid.volume, strict=True))
    geometry = {"volume": grid.volume, "block": grid.block}
    config = contingency.Config(**geometry, segmentation="", truth="", start=start, stop=stop, tables="")
    of_each = [contingency.work(config, OneTask(grid, index), NO_GROWTH).voxels for index in grid.indices()]
    assert sum(of_each) == contingency.work(config, AllTasks(grid), NO_GROWTH).voxels == Box(start, stop).voxels
    assert contingency.work(config, LargestTask(grid), NO_GROWTH).voxels >= max(of_each)
    read = scores.work(scores.Config(contingency=config, scores=""), AllTasks(grid), NO_GROWTH)
    assert read.tasks == sum(voxels > 0 for voxels in of_each)


@pytest.mark.parametrize("name", tasks.TASKS)
def test_every_task_file_states_all_that_a_task_has(name):
    stated = vars(tasks.load(name)).keys()
    assert {"Config", "run", "pieces", "resources", "work", "VERSION"} <= stated
