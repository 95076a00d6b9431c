"""A run over a box of a volume is that of the box alone, by the names and at the places of the volume."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
from fakes.shuffled import Silent

from petavox import segment
from petavox.pipeline.errors import RequestError
from petavox.pipeline.geometry import BlockGrid, Box
from petavox.pipeline.volumes import VolumeSpec, create_volume, open_volume
from petavox.workflows.analysis.contact_graph import contact_graph
from petavox.workflows.analysis.tune import tune
from petavox.workflows.planning.plan import make_plan
from petavox.workflows.recipes.segmentation_recipe import load
from petavox.workflows.recipes.tuning_grid import read_grid
from petavox.workflows.runs.audit import audit
from petavox.workflows.runs.cut import plan_cut
from petavox.workflows.runs.run import run
from petavox.workflows.runs.status import status_of
from petavox.workflows.runs.verify import verify

SHAPE = (10, 40, 36)
BOX = Box((2, 7, 5), (9, 31, 36))
NEAREST = ((1, 0, 0), (0, 1, 0), (0, 0, 1))


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder with affinities, a truth that reaches out of the box, a recipe, and a run of it that is done."""
    folder = tmp_path_factory.mktemp("made")
    affinities = np.random.default_rng(7).integers(0, 256, (3, *SHAPE)).astype(np.uint8)
    spec = VolumeSpec(SHAPE, "uint8", (30, 6, 6), (90, 0, 60), 3, NEAREST, chunk=SHAPE)
    create_volume(folder / "affinities.zarr", spec).write(spec.box, affinities)
    truth = create_volume(folder / "truth.zarr", VolumeSpec((8, 40, 36), "uint64", (30, 6, 6), (90, 0, 60)))
    truth.write(truth.spec.box, expected(affinities, "0.6")[:8])
    (folder / "recipe.toml").write_text(
        f"""
        input.affinities = "affinities.zarr"
        input.box = {[list(BOX.start), list(BOX.stop)]}
        blocks.shape = [4, 16, 36]
        agglomeration.threshold = 0.6
        evaluate.truth = "truth.zarr"
        cluster.kind = "serial"
        """
    )
    assert run(load(folder / "recipe.toml"), folder / "run", Silent()).exit_status == 0
    return folder


@pytest.fixture
def directory(made, tmp_path):
    return shutil.copytree(made / "run", tmp_path / "run")


def expected(affinities, threshold, **settings):
    """The box segmented in memory, in the volume: background around it, and named by voxels of the volume."""
    segments = segment(affinities[:, *BOX.slices()], threshold=threshold, **settings)
    linear = np.arange(np.prod(SHAPE), dtype=np.uint64).reshape(SHAPE)[BOX.slices()].ravel()
    whole = np.zeros(SHAPE, np.uint64)
    whole[BOX.slices()] = np.concatenate([np.zeros(1, np.uint64), linear + np.uint64(1)])[segments]
    return whole


def affinities_in(folder):
    volume = open_volume(folder / "affinities.zarr")
    return volume.read(volume.spec.box)


def voxels(path):
    return open_volume(path).read(Box.of_shape(SHAPE))


@pytest.mark.parametrize("block", [[4, 16, 36], [10, 40, 36], [5, 8, 12], [16, 64, 64]])
def test_for_any_blocks_it_is_the_box_alone_by_the_names_of_the_volume(made, tmp_path, block):
    ending = run(load(made / "recipe.toml", [f"blocks.shape={block}"]), tmp_path / "run", Silent())
    assert np.array_equal(voxels(ending.segmentation), expected(affinities_in(made), "0.6"))
    spec = open_volume(ending.segmentation).spec
    assert (spec.shape, spec.voxel_size, spec.translation) == (SHAPE, (30, 6, 6), (90, 0, 60))


def test_blocks_outside_are_neither_planned_nor_computed(made):
    plan = make_plan(load(made / "recipe.toml", ["blocks.shape=[2, 8, 12]"]), made / "other")
    touching = list(BlockGrid(SHAPE, (2, 8, 12)).touching(BOX))
    assert len(plan.grid) == len(touching) == 4 * 4 * 3
    assert {len(stage) for stage in plan.stages if stage.task in ("supervoxels", "relabel")} == {len(touching)}


def test_scores_are_those_of_the_truth_inside_the_box(made):
    scores = json.loads((made / "run" / "scores.json").read_text())
    assert scores["adapted_rand_error"] == 0
    assert scores["voxels"] == np.count_nonzero(expected(affinities_in(made), "0.6")[:8])


def test_a_cut_covers_the_box_of_its_run(made, directory):
    ending = run(*plan_cut(directory, "0.7", ["agglomeration.dust_size=3"]), Silent())
    assert np.array_equal(voxels(ending.segmentation), expected(affinities_in(made), "0.7", dust_size=3))
    again = Silent()
    run(load(ending.directory / "recipe.toml"), ending.directory, again)
    assert again.lines == ["Everything is done already."]


def test_an_audit_looks_at_the_box_alone_and_repairs_it(made, directory):
    assert audit(directory, Silent).exit_status == 0
    before = voxels(directory / "segmentation.zarr")
    shards = sorted(path for path in (directory / "segmentation.zarr").rglob("c/*/*/*") if path.is_file())
    assert len(shards) == 3 * 2
    shards[0].unlink()
    found = audit(directory, Silent)
    assert [flaw.box for flaw in found.findings.listed] == [Box((2, 7, 5), (4, 16, 36))]
    assert audit(directory, Silent, repair=True).exit_status == 0
    assert np.array_equal(voxels(directory / "segmentation.zarr"), before)


def test_the_status_names_the_box_where_another_recipe_has_another_one(made, directory):
    assert status_of(directory).status.stages[0].tasks == 6
    (refused,) = status_of(directory, made / "recipe.toml", ["input.box=[[2, 7, 5], [10, 31, 36]]"]).changes
    assert "input.box is [[2, 7, 5], [10, 31, 36]], was [[2, 7, 5], [9, 31, 36]]" in refused


def test_other_blocks_are_compared_inside_the_box(directory):
    verdict = verify(directory, progress=Silent)
    assert verdict.box == BOX
    assert verdict.identical
    part = verify(directory, box=Box((3, 8, 8), (8, 20, 30)), blocks=[(3, 8, 36)], progress=Silent)
    assert part.identical
    with pytest.raises(RequestError, match=r"inside what was segmented .* is \[2:9, 7:31, 5:36\]"):
        verify(directory, box=Box((0, 8, 8), (8, 20, 30)), progress=Silent)


def test_the_contact_graph_is_named_by_voxels_of_the_volume(made, directory):
    graph = contact_graph(directory, BOX)
    segments = expected(affinities_in(made), "0.6")
    assert len(graph) > 9
    for supervoxel, known in graph.nodes(data=True):
        assert np.ravel_multi_index(known["voxel"], SHAPE) + 1 == supervoxel
        assert segments[known["voxel"]] == known["segment"]
    with pytest.raises(RequestError, match="inside what was segmented"):
        contact_graph(directory, Box.of_shape(SHAPE))


def test_tuning_looks_no_further_than_the_box(directory, monkeypatch):
    from petavox.workflows.run_directory import affinities as stored

    seen, read = [], stored.read
    monkeypatch.setattr(stored, "read", lambda source, box: seen.append(box) or read(source, box))
    grid = read_grid(None, ["low=[0.02]", "high=[0.9999]", "threshold=[0.5, 0.6]", "linkage=['mean']"])
    tuning = tune(directory, grid=grid, progress=Silent(), context=(9, 9, 9))
    assert seen == [BOX]
    assert tuning.recipe.input.region == BOX
    assert {part.name: part.box for part in tuning.parts}["box"] == Box(BOX.start, (8, 31, 36))


@pytest.mark.parametrize("box", ["[[0, 0, 0], [11, 40, 36]]", "[[3, 3, 3], [3, 9, 9]]", "[[-1, 0, 0], [5, 5, 5]]"])
def test_a_box_that_is_empty_or_leaves_the_volume_is_refused(made, tmp_path, box):
    with pytest.raises(RequestError, match=r"must lie inside the volume and hold a voxel: the volume is \[0:10, 0:40"):
        run(load(made / "recipe.toml", [f"input.box={box}"]), tmp_path / "run", Silent())
    assert not (tmp_path / "run").exists()


def test_a_run_from_supervoxels_has_no_box_of_its_own(directory, tmp_path):
    (tmp_path / "cut.toml").write_text(f"input.run = '{directory}'")
    with pytest.raises(RequestError, match="'run' has the box that it was made with"):
        load(tmp_path / "cut.toml", ["input.box=[[0, 0, 0], [1, 1, 1]]"])
