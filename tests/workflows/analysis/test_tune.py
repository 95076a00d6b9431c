"""Tuning chooses what a real run then scores, and never by the labels that it holds out."""

from __future__ import annotations

import io
import json
import shutil
import sys

import numpy as np
import pytest
from fakes.shuffled import Silent
from rich.console import Console

from petavox import evaluate, segment
from petavox.pipeline.errors import RequestError, VolumeError
from petavox.pipeline.geometry import Box
from petavox.pipeline.volumes import VolumeSpec, create_volume, open_volume
from petavox.workflows import cli
from petavox.workflows.analysis.tune import tune
from petavox.workflows.analysis.tuning_results import tuning_json, write_tuning
from petavox.workflows.cli.show_tune import tuning_table
from petavox.workflows.recipes.segmentation_recipe import load
from petavox.workflows.recipes.tuning_grid import TuningGrid, read_grid
from petavox.workflows.run_directory.ledger import Ledger
from petavox.workflows.runs.cut import plan_cut
from petavox.workflows.runs.run import run

SHAPE = (8, 20, 24)
WHOLE = Box.of_shape(SHAPE)
SIZE = (30, 6, 6)
LABELS = VolumeSpec(SHAPE, "uint64", SIZE, chunk=SHAPE)
TRIED = [
    "low=[0.1, 0.3]",
    "high=[0.8, 0.95]",
    "join=[[0, 0], [6, 0.3]]",
    "quantile=[0.4]",
    "threshold=[0.4, 0.5, 0.6, 0.7]",
    "small=[[0, 0], [30, 0.45]]",
    "veto=[[0, 0], [60, 0.65]]",
]
GRID = read_grid(None, TRIED)


@pytest.fixture(scope="module")
def affinities():
    """Noise that is lower across the walls between some boxes."""
    random = np.random.default_rng(3)
    levels = random.integers(90, 256, (3, *SHAPE))
    levels[0, ::4] -= 80
    levels[1, :, ::7] -= 90
    levels[2, :, :, ::6] -= 90
    return levels.astype(np.uint8)


@pytest.fixture(scope="module")
def finished(tmp_path_factory, affinities):
    folder = tmp_path_factory.mktemp("finished")
    spec = VolumeSpec(SHAPE, "uint8", SIZE, channels=3, offsets=((1, 0, 0), (0, 1, 0), (0, 0, 1)), chunk=SHAPE)
    create_volume(folder / "affinities.zarr", spec).write(WHOLE, affinities)
    z, y, x = np.indices(SHAPE)
    truth = 1 + z // 4 + 2 * (y // 7) + 6 * (x // 6)
    create_volume(folder / "truth.zarr", LABELS).write(WHOLE, truth.astype(np.uint64))
    (folder / "recipe.toml").write_text(
        """
        input.affinities = "affinities.zarr"
        blocks.shape = [4, 20, 24]
        supervoxels.high = 0.9
        agglomeration.dust_size = 2
        agglomeration.levels = 16
        evaluate.truth = "truth.zarr"
        cluster.kind = "serial"
        """
    )
    assert run(load(folder / "recipe.toml"), folder / "run", Silent()).exit_status == 0
    return folder / "run"


@pytest.fixture(scope="module")
def truth(finished):
    return open_volume(finished.parent / "truth.zarr").read(WHOLE)


def tuned(directory, **options):
    return tune(directory, **{"grid": GRID, "progress": Silent(), **options})


def test_a_run_with_the_chosen_recipe_scores_what_was_promised(finished, tmp_path):
    tuning = tuned(finished)
    write_tuning(tuning, tmp_path)
    assert run(load(tmp_path / "recipe.toml"), tmp_path / "again", Silent()).exit_status == 0
    promised = tuning.parts[-1].scores.to_json()
    assert json.loads((tmp_path / "again" / "scores.json").read_text()) == json.loads(json.dumps(promised))


def test_every_trial_is_what_segmenting_from_the_affinities_gives(finished, affinities, truth):
    tuning = tuned(finished, split="none")
    assert len(tuning.trials) == 2 * 2 * 2 * 2 * 2 * (4 + 3)
    for trial in tuning.trials:
        supervoxels = trial.supervoxels.model_dump(exclude={"method", "strides"})
        agglomeration = trial.agglomeration.model_dump(exclude={"bias", "by_size", "solver"})
        scores = evaluate(segment(affinities, **supervoxels, **agglomeration), truth)
        assert trial.rank == (scores.adapted_rand_error, scores.voi_split + scores.voi_merge)
    assert tuning.chosen.rank == min(trial.rank for trial in tuning.trials)


def test_with_its_context_a_box_scores_what_a_run_over_all_of_it_scores_there(finished, affinities, truth):
    box, around = Box((1, 4, 4), (3, 16, 20)), Box((0, 0, 2), (8, 20, 22))
    alone, within = (tuned(finished, box=box, split="none", context=context) for context in ((0, 0, 0), (9, 4, 2)))
    settings = within.chosen.supervoxels.model_dump(exclude={"method", "strides"})
    settings |= within.chosen.agglomeration.model_dump(exclude={"bias", "by_size", "solver"})
    segments = segment(np.ascontiguousarray(affinities[:, *around.slices()]), **settings)
    expected = evaluate(segments[box.slices(around.start)], truth[box.slices()])
    (part,) = within.parts
    assert (part.box, part.scores.adapted_rand_error) == (box, expected.adapted_rand_error)
    assert [trial.rank for trial in alone.trials] != [trial.rank for trial in within.trials]


def test_context_is_not_negative(finished):
    with pytest.raises(RequestError, match="Context is counted in voxels"):
        tuned(finished, context=(0, -1, 0))


@pytest.mark.parametrize(
    ("axis", "half", "tolerance"), [("z", "first", None), ("y", "second", 12.0), ("x", "first", 6.0)]
)
def test_the_labels_of_the_other_half_never_influence_the_choice(finished, truth, tmp_path, axis, half, tolerance):
    middle = SHAPE["zyx".index(axis)] // 2
    where = slice(middle, None) if half == "first" else slice(None, middle)
    other = tuple(where if name == axis else slice(None) for name in "zyx")
    scrambled = truth.copy()
    scrambled[other] = np.roll(scrambled[other], (1, 3, 4), (0, 1, 2))
    path = tmp_path / "truth.zarr"
    create_volume(path, LABELS).write(WHOLE, scrambled)
    grid = read_grid(None, [*TRIED, "low=[0.1]", "high=[0.8]"])
    asked = [] if tolerance is None else [f"evaluate.tolerance={tolerance}"]
    before, after = (
        tuned(finished, grid=grid, split=axis, half=half, overrides=[*asked, *changed])
        for changed in ([], [f"evaluate.truth={path}"])
    )
    assert after.trials == before.trials
    assert after.chosen == before.chosen
    assert after.parts[0] == before.parts[0]
    assert after.parts[1].scores != before.parts[1].scores


def test_another_half_without_labels_has_no_score(finished, truth, tmp_path):
    half = truth.copy()
    half[:, :, 12:] = 0
    create_volume(tmp_path / "truth.zarr", LABELS).write(WHOLE, half)
    tuning = tuned(finished, overrides=[f"evaluate.truth={tmp_path / 'truth.zarr'}"])
    write_tuning(tuning, tmp_path / "tuning")
    scored = [part["adapted_rand_error"] is not None for part in tuning_json(tuning)["parts"]]
    assert scored == [True, False, True]
    console = Console(width=100, record=True, file=io.StringIO())
    console.print(tuning_table(tuning))
    assert [line.split()[-3:] for line in console.export_text().splitlines() if "(held out)" in line] == [["–"] * 3]
    with pytest.raises(VolumeError, match="needs voxels inside truth objects"):
        tuned(finished, half="second", overrides=[f"evaluate.truth={tmp_path / 'truth.zarr'}"])


def test_the_halves_make_up_the_box_and_the_longest_axis_is_cut(finished):
    box = Box((1, 2, 3), (7, 18, 24))
    names, boxes = zip(*((part.name, part.box) for part in tuned(finished, box=box, half="second").parts), strict=True)
    assert names == ("second half", "first half", "box")
    assert boxes == (Box((1, 2, 13), (7, 18, 24)), Box((1, 2, 3), (7, 18, 13)), box)


def test_a_box_is_segmented_alone(finished, affinities, truth):
    box = Box((1, 2, 3), (7, 18, 21))
    tuning = tuned(finished, box=box, split="none")
    supervoxels = tuning.chosen.supervoxels.model_dump(exclude={"method", "strides"})
    agglomeration = tuning.chosen.agglomeration.model_dump(exclude={"bias", "by_size", "solver"})
    segments = segment(affinities[:, *box.slices()], **supervoxels, **agglomeration)
    assert tuning.chosen.adapted_rand_error == evaluate(segments, truth[box.slices()]).adapted_rand_error


def test_a_cut_is_tuned_from_the_affinities_of_its_run(finished, tmp_path):
    cut = run(*plan_cut(finished, "0.6", out=tmp_path / "cut"), Silent()).directory
    assert tuned(cut).trials == tuned(finished).trials


def test_a_choice_at_the_end_of_what_was_tried_is_told(finished):
    assert tuning_json(tuned(finished, grid=read_grid(None, ["threshold=[0.97, 0.98, 0.99]"])))["ends"]
    assert (
        TuningGrid().ends(load(finished / "recipe.toml").supervoxels, load(finished / "recipe.toml").agglomeration)
        == []
    )


def test_the_command_prints_the_trials_and_leaves_recipe_and_curve(finished, tmp_path, monkeypatch, capfd):
    directory = shutil.copytree(finished.parent, tmp_path / "moved") / "run"
    arguments = [part for text in TRIED for part in ("--try", text)]
    monkeypatch.setattr(sys, "argv", ["petavox", "tune", str(directory), "--split", "y", "--json", *arguments])
    with pytest.raises(SystemExit, match="0"):
        cli.main()
    printed = json.loads(capfd.readouterr().out)
    assert printed["chosen"] in printed["trials"]
    assert printed == json.loads((directory / "tuning" / "trials.json").read_text())
    assert (directory / "tuning" / "curve.png").read_bytes().startswith(b"\x89PNG")
    assert load(directory / "tuning" / "recipe.toml").agglomeration.dust_size == 2


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({"box": Box((0, 0, 0), (9, 9, 9))}, VolumeError, "must lie inside the segmentation"),
        ({"box": Box((0, 0, 0), (1, 9, 9)), "split": "z"}, RequestError, "has one voxel there"),
        ({"overrides": ["evaluate.truth=/nowhere"]}, VolumeError, "nowhere"),
        ({"overrides": ["supervoxels.method=mutex"]}, RequestError, "method=watershed"),
        ({"grid": TuningGrid(low=(0.9,), high=(0.8,))}, RequestError, "No values go together"),
    ],
)
def test_what_cannot_be_tuned_is_refused(finished, options, error, said):
    with pytest.raises(error, match=said):
        tuned(finished, **options)


def test_a_run_without_a_truth_or_without_affinities_is_refused(finished, tmp_path):
    directory = shutil.copytree(finished.parent, tmp_path / "copy") / "run"
    recipe = (directory / "recipe.toml").read_text()
    affinities = str(finished.parent / "affinities.zarr")
    (directory / "recipe.toml").write_text(recipe.replace(affinities, str(directory.parent / "affinities.zarr")))
    shutil.rmtree(directory.parent / "affinities.zarr")
    with pytest.raises(VolumeError, match=r"affinities\.zarr"):
        tuned(directory)
    (directory / "recipe.toml").write_text(recipe[: recipe.index("[evaluate]")])
    with pytest.raises(RequestError, match=r"names none\. Name one: --set evaluate\.truth"):
        tuned(directory)
    with pytest.raises(RequestError, match=r"holds a ledger\.sqlite"):
        tuned(tmp_path)


def test_affinities_that_are_not_all_predicted_are_refused(finished, tmp_path):
    directory = shutil.copytree(finished, tmp_path / "run")
    ledger = Ledger(directory / "ledger.sqlite")
    with ledger, ledger._db:
        ledger._db.execute("DELETE FROM rows WHERE number = 1")
        ledger._db.execute("UPDATE stages SET name = 'predict' WHERE name = 'supervoxels'")
    with pytest.raises(RequestError, match=r"predict of .*run must be done first; 1 of 2 tasks are"):
        tuned(directory)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ("treshold=[0.3]", "Did you mean 'threshold'"),
        ("threshold=[1.5]", "decimal in"),
        ('linkage=["multicut"]', "'mean' or 'quantile'"),
        ("low=[]", "at least 1 item"),
    ],
)
def test_a_wrong_grid_is_refused(wrong, said):
    with pytest.raises(RequestError, match=said):
        read_grid(None, [wrong])


def test_a_veto_stays_that_of_the_recipe_unless_others_are_tried(finished):
    grid = read_grid(None, [*TRIED[:-1], "low=[0.1]", "high=[0.8]"])
    vetoed = tuned(finished, grid=grid, overrides=["agglomeration.veto_size=60", "agglomeration.veto_threshold=0.65"])
    assert {trial.agglomeration.veto_size for trial in vetoed.trials} == {60}
    assert [trial.rank for trial in vetoed.trials] != [trial.rank for trial in tuned(finished, grid=grid).trials]


def test_a_grid_can_be_a_file(tmp_path):
    (tmp_path / "grid.toml").write_text("low = [0.1]\nsmall = [[9, 0.2]]\n")
    grid = read_grid(tmp_path / "grid.toml", ["low=[0.25]"])
    assert (grid.low, grid.small, grid.high) == (
        TuningGrid(low=(0.25,)).low,
        TuningGrid(small=((9, 0.2),)).small,
        TuningGrid().high,
    )
