"""The contact graph of a box is that of the whole volume, seen from the box, however the run was cut into blocks."""

from __future__ import annotations

import functools

import numpy as np
import pytest
from fakes.shuffled import Silent
from hypothesis import given, settings
from hypothesis import strategies as st

import petavox
from petavox.pipeline.errors import RequestError
from petavox.pipeline.geometry import Box
from petavox.pipeline.thresholds import Threshold
from petavox.pipeline.volumes import VolumeSpec, create_volume
from petavox.workflows.cut import plan_cut
from petavox.workflows.recipe import load
from petavox.workflows.run import run
from twins import graph, voxels

SHAPE = (9, 14, 13)
NEAREST = ((1, 0, 0), (0, 1, 0), (0, 0, 1))
AFFINITIES = np.random.default_rng(3).integers(0, 256, (3, *SHAPE)).astype(np.uint8)
LOW = "0.3"
HIGHS = "0.9999", "0.75"  # supervoxels of a few voxels, and some that go through many blocks


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A finished run for each of the values of high."""
    folder = tmp_path_factory.mktemp("runs")
    spec = VolumeSpec(SHAPE, "uint8", (30, 6, 6), channels=3, offsets=NEAREST, chunk=SHAPE)
    create_volume(folder / "affinities.zarr", spec).write(Box.of_shape(SHAPE), AFFINITIES)
    (folder / "recipe.toml").write_text(
        f"""
        input.affinities = "affinities.zarr"
        blocks.shape = [4, 7, 7]
        supervoxels.low = {LOW}
        agglomeration.threshold = 0.65
        agglomeration.dust_size = 4
        cluster.kind = "serial"
        """
    )
    for high in HIGHS:
        recipe = load(folder / "recipe.toml", [f"supervoxels.high={high}"])
        assert run(recipe, folder / high, Silent()).exit_status == 0
    return folder


@st.composite
def boxes(draw):
    ends = [sorted(draw(st.lists(st.integers(0, s), min_size=2, max_size=2, unique=True))) for s in SHAPE]
    return Box(*zip(*ends, strict=True))


@functools.cache
def whole(high):
    labels = voxels.supervoxels(AFFINITIES, *(Threshold.parse(value).least_affinity for value in (LOW, high)))
    return labels, voxels.contacts(labels, AFFINITIES)


@functools.cache
def segments(high, threshold):
    return petavox.segment(AFFINITIES, low=LOW, high=high, threshold=threshold, dust_size=4)


def expected(high, box, threshold="0.65"):
    return graph.contact_graph(*whole(high), segments(high, threshold), box)


def plain(found):
    nodes = {name: (node["size"], node["segment"], node["voxel"]) for name, node in found.nodes(data=True)}
    edges = {tuple(sorted((a, b))): (edge["sum"], edge["count"]) for a, b, edge in found.edges(data=True)}
    return nodes, edges


@pytest.mark.parametrize("high", HIGHS)
@settings(max_examples=8)
@given(box=boxes())
def test_any_box_of_a_run_shows_what_the_whole_volume_holds(runs, high, box):
    found = petavox.contact_graph(runs / high, box)
    assert plain(found) == expected(high, box)
    for _, _, contact in found.edges(data=True):
        assert contact["affinity"] == contact["sum"] / contact["count"] / 255


def test_supervoxels_of_the_test_go_through_many_blocks():
    nodes, _ = expected("0.75", Box.of_shape(SHAPE))
    assert max(size for size, _, _ in nodes.values()) > 4 * 7 * 7


def test_a_box_is_given_as_in_a_recipe(runs):
    found = petavox.contact_graph(str(runs / "0.75"), [[1, 2, 3], [4, 9, 8]])
    assert plain(found) == expected("0.75", Box((1, 2, 3), (4, 9, 8)))


def test_the_graph_of_a_cut_has_its_segments(runs):
    cut = run(*plan_cut(runs / "0.75", "0.9"), Silent())
    found = petavox.contact_graph(cut.directory, Box.of_shape(SHAPE))
    assert plain(found) == expected("0.75", Box.of_shape(SHAPE), threshold="0.9")


@pytest.mark.parametrize("box", [[[0, 0, 0], [4, 0, 4]], [[0, 0, 0], [4, 4, 14]], [[-1, 0, 0], [4, 4, 4]]])
def test_a_box_outside_or_empty_is_refused(runs, box):
    with pytest.raises(RequestError, match=r"inside the volume and hold a voxel: .* is \[0:9, 0:14, 0:13\]"):
        petavox.contact_graph(runs / "0.75", box)


def test_a_folder_that_is_no_run_is_refused(tmp_path):
    with pytest.raises(RequestError, match=r"holds a ledger\.sqlite"):
        petavox.contact_graph(tmp_path, [[0, 0, 0], [1, 1, 1]])
