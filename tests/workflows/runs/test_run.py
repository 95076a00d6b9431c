"""Whole runs on small affinities: the result, what is done again when the recipe changes, and what is refused."""

from __future__ import annotations

import json
import re
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from fakes.shuffled import Shuffled, Silent

from petavox import cluster, segment
from petavox.pipeline.errors import AffinityError, RequestError, StorageError
from petavox.pipeline.geometry import Box
from petavox.pipeline.volumes import VolumeSpec, create_volume, open_volume
from petavox.workflows.planning import plan as planning
from petavox.workflows.planning.plan import make_plan
from petavox.workflows.recipes.segmentation_recipe import load
from petavox.workflows.run_directory.ledger import Ledger
from petavox.workflows.runs.recompute import directory_refusals
from petavox.workflows.runs.run import run

SHAPE = (10, 40, 36)
NEAREST = ((1, 0, 0), (0, 1, 0), (0, 0, 1))


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder with affinities, a truth, and a recipe."""
    folder = tmp_path_factory.mktemp("made")
    random = np.random.default_rng(7)
    affinities = random.integers(0, 256, (3, *SHAPE)).astype(np.uint8)
    spec = VolumeSpec(SHAPE, "uint8", (30, 6, 6), channels=3, offsets=NEAREST, chunk=SHAPE)
    create_volume(folder / "affinities.zarr", spec).write(Box.of_shape(SHAPE), affinities)
    truth = create_volume(folder / "truth.zarr", VolumeSpec(SHAPE, "uint64", (30, 6, 6), chunk=SHAPE))
    truth.write(Box.of_shape(SHAPE), segment(affinities, threshold="0.6"))
    (folder / "recipe.toml").write_text(
        """
        input.affinities = "affinities.zarr"
        blocks.shape = [5, 20, 36]
        agglomeration.threshold = 0.6
        evaluate.truth = "truth.zarr"
        cluster.kind = "serial"
        """
    )
    return folder


@pytest.fixture(scope="module")
def finished(made):
    """The directory of a run of it that is done; tests work on copies."""
    directory = made / "finished"
    ending = run(load(made / "recipe.toml"), directory, Silent())
    assert (ending.failed, ending.blocked, ending.exit_status) == (0, 0, 0)
    return directory


@pytest.fixture
def directory(finished, tmp_path):
    shutil.copytree(finished, tmp_path / "run")
    return tmp_path / "run"


def again(made, directory, *overrides):
    notes = Silent()
    ending = run(load(made / "recipe.toml", overrides), directory, notes)
    assert notes.closed
    return ending, notes.lines


def voxels(path):
    return open_volume(path).read(Box.of_shape(SHAPE))


def sessions(directory):
    """For each stage the sessions in which its tasks were last done."""
    with Ledger(directory / "ledger.sqlite", readonly=True) as ledger:
        rows = ledger._db.execute("SELECT stage, MIN(session), MAX(session) FROM tasks GROUP BY stage").fetchall()
    assert all(low == high for _, low, high in rows)
    return {stage: low for stage, low, _ in rows}


def test_a_run_leaves_what_one_machine_would_compute_and_says_how_good_it_is(made, finished):
    expected = segment(voxels(made / "affinities.zarr"), threshold="0.6")
    assert np.array_equal(voxels(finished / "segmentation.zarr"), expected)
    assert json.loads((finished / "scores.json").read_text())["adapted_rand_error"] < 0.01
    assert (finished / "report.html").stat().st_size > 0
    assert "finished" not in (finished / "recipe.toml").read_text(), "the recipe must survive a move"


def test_a_run_that_is_done_is_not_done_again(made, directory):
    ending, notes = again(made, directory)
    assert notes == ["Everything is done already."]
    assert set(sessions(directory).values()) == {1}, "a run directory may be moved"
    assert ending.scores is not None


def test_the_recipe_that_a_run_leaves_continues_it(directory):
    again(directory, directory)
    assert set(sessions(directory).values()) == {1}


def test_another_threshold_computes_its_stage_and_what_depends_on_it_again_and_says_why(made, directory):
    _, notes = again(made, directory, "agglomeration.threshold=0.7")
    assert notes[0].startswith("Computing agglomerate-0, agglomerate-1 again: threshold 0.6 → 0.7.")
    assert notes[1].startswith("Computing assign-1, relabel, contingency, scores again")
    expected = segment(voxels(made / "affinities.zarr"), threshold="0.7")
    assert np.array_equal(voxels(directory / "segmentation.zarr"), expected)
    assert {stage for stage, session in sessions(directory).items() if session == 1} == {"supervoxels", "faces"}


def test_there_and_back_again_gives_the_first_result(made, directory):
    before = voxels(directory / "segmentation.zarr")
    again(made, directory, "agglomeration.threshold=0.9")
    again(made, directory)
    assert np.array_equal(voxels(directory / "segmentation.zarr"), before)


def test_nothing_stale_survives_where_the_new_result_is_empty(made, directory):
    again(made, directory, "agglomeration.dust_size=100000")
    assert not voxels(directory / "segmentation.zarr").any()


def test_scores_may_be_asked_for_later(made, directory):
    shutil.rmtree(directory)
    recipe = load(made / "recipe.toml")
    run(recipe.model_copy(update={"evaluate": None}), directory, Silent())
    assert not (directory / "scores.json").exists()
    ending, _ = again(made, directory)
    assert ending.scores is not None
    assert {stage for stage, session in sessions(directory).items() if session == 2} == {"contingency", "scores"}


@pytest.mark.parametrize("lost", ["segmentation.zarr", "tables/faces", "scores.json"])
def test_an_output_that_has_gone_is_made_again_and_nothing_else(made, directory, lost):
    before = voxels(directory / "segmentation.zarr")
    path = directory / lost
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    again(made, directory)
    assert len([stage for stage, session in sessions(directory).items() if session == 2]) == 1
    assert np.array_equal(voxels(directory / "segmentation.zarr"), before)


@pytest.mark.parametrize("override", ["blocks.shape=[5, 40, 36]", "input.affinities=other.zarr"])
def test_a_directory_made_with_another_recipe_is_refused_and_left_alone(made, directory, override):
    if not (made / "other.zarr").exists():
        shutil.copytree(made / "affinities.zarr", made / "other.zarr")
    before = {path: path.stat().st_mtime_ns for path in directory.rglob("*") if "zarr" in str(path)}
    with pytest.raises(RequestError, match=rf"begun otherwise: {override.partition('=')[0]} is .*--run"):
        again(made, directory, override)
    assert {path: path.stat().st_mtime_ns for path in directory.rglob("*") if "zarr" in str(path)} == before


def test_affinities_rewritten_since_are_another_recipe(made, directory, tmp_path):
    moved = tmp_path / "moved"
    shutil.copytree(made / "affinities.zarr", moved / "affinities.zarr")
    (moved / "recipe.toml").write_text((made / "recipe.toml").read_text().replace("evaluate", "#evaluate"))
    run(load(moved / "recipe.toml"), moved / "run", Silent())
    volume = open_volume(moved / "affinities.zarr", writable=True)
    volume.write(Box.of_shape(SHAPE), np.zeros((3, *SHAPE), np.uint8))
    with pytest.raises(RequestError, match=r"begun otherwise: input\.affinities"):
        run(load(moved / "recipe.toml"), moved / "run", Silent())


def test_a_volume_that_the_run_did_not_make_is_never_written_over(made, tmp_path):
    with pytest.raises(RequestError, match=r"truth\.zarr, which exists and was not made by this run"):
        again(made, tmp_path / "run", f"output.segmentation={made / 'truth.zarr'}")
    assert not (tmp_path / "run").exists()


def test_a_recipe_that_the_run_did_not_write_is_never_written_over(made):
    before = (made / "recipe.toml").read_text()
    with pytest.raises(RequestError, match="not a run's"):
        again(made, made)
    assert (made / "recipe.toml").read_text() == before


def test_a_folder_that_holds_anything_else_is_no_directory_for_a_run(made, tmp_path):
    shutil.copytree(made / "affinities.zarr", tmp_path / "em.zarr")
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "todo.txt").touch()
    before = sorted(tmp_path.rglob("*"))
    for directory in ("em.zarr", "notes", "notes/todo.txt"):
        with pytest.raises(RequestError, match=r"A run has a directory of its own; .*--run"):
            again(made, tmp_path / directory)
        plan = make_plan(load(made / "recipe.toml"), tmp_path / directory)
        assert "A run has a directory of its own" in next(directory_refusals(plan)), "plan refuses what run refuses"
    assert sorted(tmp_path.rglob("*")) == before
    (tmp_path / "free").mkdir()
    (tmp_path / "free" / ".DS_Store").touch()
    assert again(made, tmp_path / "free")[0].exit_status == 0


def test_plan_refuses_what_another_recipe_would_find_in_the_directory(made, directory):
    plan = make_plan(load(made / "recipe.toml", ["blocks.shape=[5, 40, 36]"]), directory)
    (refusal,) = directory_refusals(plan)
    assert "blocks.shape is [5, 40, 36]" in refusal
    assert "delete" not in refusal


def test_a_disk_too_small_is_refused_before_anything_is_written(made, tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10**6, 10**6, 10))
    with pytest.raises(RequestError, match=r"at least .* of disk; .* has 10 B free"):
        again(made, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_disk_that_fills_up_ends_the_run_and_room_on_it_continues_it(made, tmp_path, monkeypatch):
    from petavox.tasks import relabel

    real, calls = relabel.run, []

    def full_after_two(config, index):
        calls.append(index)
        if len(calls) > 2:
            raise OSError(28, "No space left on device")
        return real(config, index)

    monkeypatch.setattr(relabel, "run", full_after_two)
    with pytest.raises(StorageError, match="No space left on device"):
        run(load(made / "recipe.toml"), tmp_path / "run", Silent(), backoff=0.0)
    monkeypatch.undo()
    ending, _ = again(made, tmp_path / "run")
    assert ending.failed == 0


def test_a_stop_by_the_user_keeps_what_is_done(made, tmp_path, monkeypatch):
    from petavox.tasks import relabel

    def stopped(config, index):
        raise KeyboardInterrupt

    monkeypatch.setattr(relabel, "run", stopped)
    with pytest.raises(KeyboardInterrupt):
        again(made, tmp_path / "run")
    monkeypatch.undo()
    again(made, tmp_path / "run")
    assert {stage for stage, session in sessions(tmp_path / "run").items() if session == 1} >= {"supervoxels", "faces"}


def test_float_affinities_with_nan_are_refused_naming_the_place(made, tmp_path, monkeypatch):
    spec = VolumeSpec(SHAPE, "float32", (30, 6, 6), channels=3, offsets=NEAREST, chunk=SHAPE)
    affinities = np.full((3, *SHAPE), 0.5, np.float32)
    affinities[1, 7, 30, 5] = np.nan
    create_volume(tmp_path / "float.zarr", spec).write(Box.of_shape(SHAPE), affinities)
    overrides = f"input.affinities={tmp_path / 'float.zarr'}", "blocks.shape=[5, 20, 36]"
    with pytest.raises(AffinityError, match=r"float\.zarr, box \[5:10, 20:40, 0:36\] holds NaN"):
        again(made, tmp_path / "run", *overrides)
    assert not (tmp_path / "run").exists()
    monkeypatch.setattr(planning, "LOOKED_THROUGH", 0)
    with pytest.raises(RequestError, match=r"supervoxels \(1, 1, 0\): .* holds NaN"):
        again(made, tmp_path / "run", *overrides)


@pytest.mark.parametrize("seed", range(3))
def test_any_order_of_completion_gives_the_same_segmentation(made, tmp_path, monkeypatch, seed):
    monkeypatch.setattr(cluster, "start", lambda kind, function, **_: Shuffled(function, seed, window=4, losing=0.05))
    recipe = load(made / "recipe.toml", ["blocks.shape=[5, 12, 12]"])
    assert run(recipe, tmp_path / "run", Silent(), backoff=0.0).failed == 0
    expected = segment(voxels(made / "affinities.zarr"), threshold="0.6")
    assert np.array_equal(voxels(tmp_path / "run" / "segmentation.zarr"), expected)


def test_the_folder_above_is_no_obstacle_to_a_new_run(made, tmp_path):
    again(made, tmp_path / "deep" / "down", "agglomeration.small_size=5")
    assert Path(tmp_path / "deep" / "down" / "report.html").exists()


def test_a_forced_stage_and_what_depends_on_it_are_computed_again_and_told(made, directory):
    before = voxels(directory / "segmentation.zarr")
    notes = Silent()
    run(load(made / "recipe.toml"), directory, notes, force=["assign-1"])
    assert notes.lines[:2] == [
        "Computing assign-1 again: asked for with --force-stage.",
        "Computing relabel again: needs assign-1.",
    ]
    assert {s for s, session in sessions(directory).items() if session == 2} == {
        "assign-1",
        "relabel",
        "contingency",
        "scores",
    }
    assert np.array_equal(voxels(directory / "segmentation.zarr"), before)
    with pytest.raises(RequestError, match=r"none called 'paint'\. There are supervoxels, faces, agglomerate-0"):
        run(load(made / "recipe.toml"), directory, Silent(), force=["paint"])
    run(load(made / "recipe.toml"), directory, Silent(), force=["agglomerate"])
    assert {s for s, session in sessions(directory).items() if session == 1} == {"supervoxels", "faces"}


def test_the_report_shows_affinities_in_the_colours_of_their_axes_whatever_their_order(made, finished, tmp_path):
    stored = open_volume(made / "affinities.zarr")
    spec = VolumeSpec(SHAPE, "uint8", (30, 6, 6), channels=3, offsets=NEAREST[::-1], chunk=SHAPE)
    create_volume(tmp_path / "xyz.zarr", spec).write(Box.of_shape(SHAPE), stored.read(Box.of_shape(SHAPE))[::-1].copy())
    run(load(made / "recipe.toml", [f"input.affinities={tmp_path / 'xyz.zarr'}"]), tmp_path / "run", Silent())
    pages = (folder / "report.html" for folder in (finished, tmp_path / "run"))
    pictures = [re.findall(r'src="data:image/png;base64,([^"]+)"', page.read_text("utf-8")) for page in pages]
    assert pictures[0] == pictures[1]
    assert len(pictures[0]) >= 3


def test_a_run_and_its_report_do_without_imagecodecs(made, finished, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "imagecodecs", None)  # importing it fails
    ending = run(load(made / "recipe.toml"), tmp_path / "run", Silent())
    assert ending.exit_status == 0
    assert ending.report.read_text("utf-8").count("data:image/png") >= 3
