"""Whoever sees a run directory can tell how far it is, who works on it, and what another recipe would do."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
from fakes import blocks
from fakes.shuffled import Silent
from rich.console import Console

from petavox.pipeline.errors import RequestError
from petavox.pipeline.geometry import Box
from petavox.pipeline.volumes import VolumeSpec, create_volume
from petavox.tasks.contract import Resources
from petavox.workflows.cli.show_status import status_json, status_table
from petavox.workflows.recipes.segmentation_recipe import load
from petavox.workflows.run_directory.ledger import Ledger
from petavox.workflows.run_directory.ledger_schema import Row
from petavox.workflows.run_directory.lock import Holder, locked
from petavox.workflows.run_directory.status_file import Bulletin, read_bulletin
from petavox.workflows.runs import status as statuses
from petavox.workflows.runs.run import run
from petavox.workflows.runs.status import status_of
from petavox.workflows.stages.stage import Stage

SHAPE = (4, 16, 16)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("made")
    spec = VolumeSpec(SHAPE, "uint8", (30, 6, 6), channels=3, offsets=((1, 0, 0), (0, 1, 0), (0, 0, 1)), chunk=SHAPE)
    affinities = np.random.default_rng(0).integers(0, 256, (3, *SHAPE)).astype(np.uint8)
    create_volume(folder / "affinities.zarr", spec).write(Box.of_shape(SHAPE), affinities)
    (folder / "recipe.toml").write_text(
        'input.affinities = "affinities.zarr"\nblocks.shape = [4, 8, 16]\ncluster.kind = "serial"\n'
    )
    run(load(folder / "recipe.toml"), folder / "run", Silent())
    return folder / "run"


@pytest.fixture
def directory(finished, tmp_path):
    shutil.copytree(finished, tmp_path / "run")
    return tmp_path / "run"


def shown(found):
    console = Console(width=160, record=True, file=io.StringIO())
    console.print(status_table(found), soft_wrap=True)
    return console.export_text()


def test_a_run_that_is_done_has_nothing_left_and_no_driver(directory):
    found = status_json(status_of(directory))
    assert (found["driver"], found["lost_driver"], found["changes"]) == (None, None, [])
    assert [stage["left"] for stage in found["stages"]] == [0] * len(found["stages"])
    assert json.loads(json.dumps(found)) == found
    assert "run: finished; drivers were at work for" in shown(status_of(directory))


def test_what_another_recipe_would_do_is_told_with_field_and_values_and_nothing_is_done(directory):
    before = {path: path.stat().st_mtime_ns for path in directory.rglob("*") if path.is_file()}
    found = status_of(directory, overrides=["agglomeration.threshold=0.7"])
    assert found.changes[0] == "Computing agglomerate-0, agglomerate-1 again: threshold 0.5 → 0.7."
    assert found.changes[-1] == "6 tasks that are done would be done again, 4 kept."
    assert found.changes[1] in shown(found)
    assert before == {path: path.stat().st_mtime_ns for path in directory.rglob("*") if path.is_file()}
    assert status_of(directory, directory / "recipe.toml").changes == (
        "0 tasks that are done would be done again, 10 kept.",
    )


def test_an_edited_recipe_is_noticed(directory):
    recipe = directory / "recipe.toml"
    recipe.write_text(recipe.read_text().replace("threshold = 0.5", "threshold = 0.6"))
    assert status_of(directory).changes[0].endswith("threshold 0.5 → 0.6.")


def test_a_recipe_that_this_directory_would_refuse_is_told_so(directory):
    (change,) = status_of(directory, overrides=["blocks.shape=[4, 16, 16]"]).changes
    assert change.startswith("It would be refused")
    assert "blocks.shape is [4, 16, 16], was [4, 8, 16]" in change


def test_what_is_no_run_is_refused_and_says_why_none_has_begun(tmp_path):
    for directory in (tmp_path, tmp_path / "missing"):
        with pytest.raises(RequestError, match=r"No run has begun in .* petavox run RECIPE"):
            status_of(directory)
    (tmp_path / "recipe.toml").touch()
    with pytest.raises(RequestError, match=r"holds a ledger\.sqlite"):
        status_of(tmp_path)
    with pytest.raises(RequestError, match=rf"is a file; that of this recipe is {tmp_path}/runs/recipe"):
        status_of(tmp_path / "recipe.toml")
    (tmp_path / "cluster").mkdir()
    with pytest.raises(RequestError, match="has not begun: the job of its driver waits"):
        status_of(tmp_path)


def test_a_driver_that_was_killed_is_named(directory):
    code = (
        "import os, sys; from pathlib import Path; from petavox.workflows.run_directory.lock import locked\n"
        "with locked(Path(sys.argv[1])): os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-P", "-c", code, str(directory)], check=False)
    found = status_of(directory)
    assert found.driver is None
    assert "finished" in shown(found), "it had done everything"
    forget(directory, "relabel")
    found = status_of(directory)
    assert "8 of 10 tasks are done" in shown(found)
    assert f"The last driver, {found.lost}, was killed" in shown(found)


def forget(directory, stage):
    with Ledger(directory / "ledger.sqlite") as ledger:
        ledger.forget(stage)


def test_a_driver_that_was_stopped_is_told_from_one_that_failed(directory):
    forget(directory, "relabel")
    told = json.loads((directory / "status.json").read_text())
    for exit_status, words in ((130, "stopped, by Ctrl-C"), (1, "log.txt has it"), (None, "petavox retry")):
        (directory / "status.json").write_text(json.dumps(told | {"exit_status": exit_status}))
        assert words in shown(status_of(directory))


def row(stage, number, state, seconds=2.0, **more):
    return Row(stage, number, state, "mark", seconds, "here", 5000, **more)


@pytest.fixture
def driver(tmp_path):
    """A driver of two stages, the second on GPU workers, and its bulletin."""
    stages = blocks.chain(tmp_path, 10, "ab")
    stages[1] = Stage(**(vars(stages[1]) | {"resources": Resources(0, gpu=True)}))
    with locked(tmp_path) as lock, Ledger(tmp_path / "ledger.sqlite", check=lock.check) as ledger:
        ledger.begin()
        ledger.adopt((stage.name, len(stage), "mark", {}) for stage in stages)
        ledger.record([row("a", 0, "done"), row("a", 1, "aside", error="old")])
        yield ledger, Bulletin(tmp_path, lock.holder, ledger, stages, "")


def test_everybody_sees_what_the_driver_tells_and_nobody_opens_the_ledger(driver, tmp_path, monkeypatch):
    ledger, bulletin = driver
    bulletin.watch(lambda: {"a": 3}, lambda: {"cpu": 2, "gpu": 1})
    ledger.record([row("a", 1, "failed", error="x"), row("a", 2, "aside", error="bad\ntrace"), row("a", 3, "empty")])
    ledger.record([row("a", 4, "masked"), row("b", 0, "done", 0.5)])
    bulletin.publish()
    monkeypatch.setattr(statuses, "Ledger", None)
    found = status_of(tmp_path)
    a, b = found.status.stages
    assert (a.done, a.running, a.failed, a.aside, a.left, a.attempts) == (3, 3, 1, 1, 6, 6)
    assert (b.done, b.left, b.gpu) == (1, 9, True)
    assert found.status.failures == [("a", 2, 1, "bad\ntrace")]
    assert a.time_left(2) == pytest.approx(6 * 2.0 / 2)
    assert found.status.time_left == pytest.approx(max(6 * 2.0 / 2, 9 * 0.5))
    assert 0 < found.status.gpu_share <= 1
    assert "with 2 cpu workers, 1 gpu workers" in shown(found)
    assert "a task 2, tried 1 times: bad" in shown(found)


def test_a_stage_that_has_not_begun_makes_the_time_left_unknown(driver, tmp_path):
    ledger, bulletin = driver
    ledger.record([row("a", 2, "done")])
    bulletin.watch(dict, lambda: {"cpu": 2, "gpu": 1})
    bulletin.publish()
    assert status_of(tmp_path).status.time_left is None
    assert "time left not known yet" in shown(status_of(tmp_path))


def test_what_another_driver_told_before_is_not_taken_for_what_this_one_tells(driver, tmp_path):
    ledger, bulletin = driver
    bulletin.publish()
    bulletin._status.driver = Holder("elsewhere", 1, "m", "1", "then", "another token")
    bulletin.publish()
    ledger.record([row("a", 5, "done")])
    assert status_of(tmp_path).status.stages[0].done == 2, "read from the ledger"


def test_on_a_shared_disk_a_driver_that_has_told_nothing_yet_is_waited_for(driver, tmp_path, monkeypatch):
    monkeypatch.setattr(statuses, "is_local", lambda folder: False)
    with pytest.raises(RequestError, match=r"is just starting\. Ask again"):
        status_of(tmp_path)
    driver[1].publish()
    assert status_of(tmp_path).status.stages[0].done == 1


def test_a_status_file_in_other_words_is_nobodys(tmp_path):
    for text in ("", "{}", '{"stages": [{"name": "a"}], "driver": {}}', "[]"):
        (tmp_path / "status.json").write_text(text)
        assert read_bulletin(tmp_path) is None


def test_the_table_is_whole_on_a_narrow_terminal(driver, tmp_path):
    ledger, bulletin = driver
    bulletin.watch(lambda: {"a": 3}, lambda: {"cpu": 2, "gpu": 1})
    ledger.record([row("a", 2, "aside", error="bad")])
    bulletin.publish()
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(status_table(status_of(tmp_path)))
    (heading,) = [line for line in console.export_text().splitlines() if line.startswith("stage")]
    assert heading.split() == [
        "stage",
        "tasks",
        "done",
        "running",
        "failed",
        "aside",
        "tasks/s",
        "memory",
        "time",
        "left",
    ]
    assert "waits for a" in shown(status_of(tmp_path))
