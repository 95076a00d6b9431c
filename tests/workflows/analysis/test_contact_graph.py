"""The contact graph of a box is that of the whole volume, seen from the box, however the run was cut into blocks."""

from __future__ import annotations

import functools

import numpy as np
import pytest
from fakes.shuffled import Silent
from hypothesis import given, settings
from hypothesis import strategies as st

import petavox
from petavox.pipeline.agglomeration.rules import MergeRule
from petavox.pipeline.agglomeration.small_supervoxels import JoinRule
from petavox.pipeline.errors import RequestError
from petavox.pipeline.geometry import BlockGrid, Box
from petavox.pipeline.thresholds import Threshold
from petavox.pipeline.volumes import VolumeSpec, create_volume
from petavox.tasks import block_tables
from petavox.workflows.recipes.segmentation_recipe import load
from petavox.workflows.runs.cut import plan_cut
from petavox.workflows.runs.run import run
from twins import Rules, graph, segmentation, voxels

SHAPE = (9, 14, 13)
NEAREST = ((1, 0, 0), (0, 1, 0), (0, 0, 1))
AFFINITIES = np.random.default_rng(3).integers(0, 256, (3, *SHAPE)).astype(np.uint8)
BLOCK = (4, 7, 7)
LOW = "0.3"
JOIN = JoinRule(6, Threshold.parse("0.55"))
CASES = ("0.9999", JoinRule()), ("0.75", JoinRule()), ("0.9999", JOIN), ("0.75", JOIN)
"""high, what joins: supervoxels of a few voxels, some that go through many blocks, both also with small ones joined."""


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A finished run for each of the cases."""
    folder = tmp_path_factory.mktemp("runs")
    spec = VolumeSpec(SHAPE, "uint8", (30, 6, 6), channels=3, offsets=NEAREST, chunk=SHAPE)
    create_volume(folder / "affinities.zarr", spec).write(Box.of_shape(SHAPE), AFFINITIES)
    (folder / "recipe.toml").write_text(
        f"""
        input.affinities = "affinities.zarr"
        blocks.shape = {list(BLOCK)}
        supervoxels.low = {LOW}
        agglomeration.threshold = 0.65
        agglomeration.dust_size = 4
        cluster.kind = "serial"
        """
    )
    directories = {}
    for high, join in CASES:
        settings = {"high": high, "join_size": join.size, "join_affinity": join.affinity.millionths / 10**6}
        recipe = load(folder / "recipe.toml", [f"supervoxels.{name}={value}" for name, value in settings.items()])
        directories[high, join] = folder / f"{high}-{join.size}"
        assert run(recipe, directories[high, join], Silent()).exit_status == 0
    return directories


@st.composite
def boxes(draw):
    ends = [sorted(draw(st.lists(st.integers(0, s), min_size=2, max_size=2, unique=True))) for s in SHAPE]
    return Box(*zip(*ends, strict=True))


@functools.cache
def whole(case):
    high, join = case
    labels = voxels.supervoxels(AFFINITIES, *(Threshold.parse(value).least_affinity for value in (LOW, high)))
    return graph.joined(labels, voxels.contacts(labels, AFFINITIES), join)


@functools.cache
def segments(case, threshold):
    high, join = case
    rules = Rules(join, MergeRule(Threshold.parse(threshold)), levels=0, dust_size=4)
    return segmentation.segment(AFFINITIES, Threshold.parse(LOW), Threshold.parse(high), rules)[0]


def expected(case, box, threshold="0.65"):
    return graph.contact_graph(*whole(case), segments(case, threshold), box)


def plain(found):
    nodes = {name: (node["size"], node["segment"], node["voxel"]) for name, node in found.nodes(data=True)}
    edges = {tuple(sorted((a, b))): (edge["sum"], edge["count"]) for a, b, edge in found.edges(data=True)}
    return nodes, edges


@pytest.mark.parametrize("case", CASES, ids=str)
@settings(max_examples=8)
@given(box=boxes())
def test_any_box_of_a_run_shows_what_the_whole_volume_holds(runs, case, box):
    found = petavox.contact_graph(runs[case], box)
    assert plain(found) == expected(case, box)
    for _, _, contact in found.edges(data=True):
        assert contact["affinity"] == contact["sum"] / contact["count"] / 255


def test_supervoxels_of_the_test_go_through_many_blocks():
    for case in CASES[1], CASES[3]:
        nodes, _ = expected(case, Box.of_shape(SHAPE))
        assert max(size for size, _, _ in nodes.values()) > np.prod(BLOCK)


def test_supervoxels_of_the_test_join_and_some_stay_small(runs):
    nodes, edges = expected(CASES[2], Box.of_shape(SHAPE))
    assert len(nodes) < len(expected(CASES[0], Box.of_shape(SHAPE))[0]) / 2
    crumbs = {name for name, (size, _, _) in nodes.items() if size < JOIN.size}
    assert crumbs
    assert not crumbs & {end for pair in edges for end in pair}


def test_supervoxels_of_the_test_are_handed_over(runs):
    for case in CASES[2:]:
        tables, blocks = runs[case] / "tables", BlockGrid(SHAPE, BLOCK).indices()
        assert sum((block_tables.read_placement(str(tables), index).place < 0).sum() for index in blocks) > 5


def test_a_box_is_given_as_in_a_recipe(runs):
    found = petavox.contact_graph(str(runs[CASES[1]]), [[1, 2, 3], [4, 9, 8]])
    assert plain(found) == expected(CASES[1], Box((1, 2, 3), (4, 9, 8)))


def test_the_graph_of_a_cut_has_its_segments(runs):
    cut = run(*plan_cut(runs[CASES[3]], "0.9"), Silent())
    found = petavox.contact_graph(cut.directory, Box.of_shape(SHAPE))
    assert plain(found) == expected(CASES[3], Box.of_shape(SHAPE), threshold="0.9")


@pytest.mark.parametrize("box", [[[0, 0, 0], [4, 0, 4]], [[0, 0, 0], [4, 4, 14]], [[-1, 0, 0], [4, 4, 4]]])
def test_a_box_outside_or_empty_is_refused(runs, box):
    with pytest.raises(RequestError, match=r"inside what was segmented and hold a voxel: .* is \[0:9, 0:14, 0:13\]"):
        petavox.contact_graph(runs[CASES[1]], box)


def test_a_folder_that_is_no_run_is_refused(tmp_path):
    with pytest.raises(RequestError, match=r"holds a ledger\.sqlite"):
        petavox.contact_graph(tmp_path, [[0, 0, 0], [1, 1, 1]])
