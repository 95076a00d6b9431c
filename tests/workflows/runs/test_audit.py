"""Whatever happens to a run's files is found, named with its place, and mended; what is fine is not done again."""

from __future__ import annotations

import shutil
import sqlite3

import numpy as np
import pytest
from fakes import blocks
from fakes.shuffled import Silent

from petavox import cluster, segment
from petavox.cluster import Completion
from petavox.pipeline.errors import RequestError
from petavox.pipeline.geometry import Box
from petavox.pipeline.volumes import VolumeSpec, create_volume, open_volume
from petavox.workflows.cli.show_audit import audit_json, audit_text
from petavox.workflows.recipes.segmentation_recipe import load
from petavox.workflows.run_directory.ledger import Ledger
from petavox.workflows.runs import audit_blocks
from petavox.workflows.runs.audit import audit, dependents
from petavox.workflows.runs.cut import plan_cut
from petavox.workflows.runs.run import run
from petavox.workflows.stages.stage import Whole

SHAPE = (6, 24, 20)
WHOLE = Box.of_shape(SHAPE)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder with affinities, a recipe and a run that is done; four blocks."""
    folder = tmp_path_factory.mktemp("made")
    affinities = np.random.default_rng(3).integers(0, 256, (3, *SHAPE)).astype(np.uint8)
    spec = VolumeSpec(SHAPE, "uint8", (30, 6, 6), channels=3, offsets=((1, 0, 0), (0, 1, 0), (0, 0, 1)), chunk=SHAPE)
    create_volume(folder / "affinities.zarr", spec).write(WHOLE, affinities)
    truth = create_volume(folder / "truth.zarr", VolumeSpec(SHAPE, "uint64", (30, 6, 6), chunk=SHAPE))
    truth.write(WHOLE, segment(affinities, threshold="0.6"))
    (folder / "recipe.toml").write_text(
        """
        input.affinities = "affinities.zarr"
        blocks.shape = [3, 12, 20]
        evaluate.truth = "truth.zarr"
        evaluate.box = [[0, 0, 0], [3, 24, 20]]
        cluster.kind = "serial"
        """
    )
    run(load(folder / "recipe.toml"), folder / "run", Silent())
    return folder


@pytest.fixture
def directory(made, tmp_path):
    shutil.copytree(made / "run", tmp_path / "run")
    return tmp_path / "run"


def files(directory, pattern):
    return sorted(path for path in directory.glob(pattern) if path.is_file())


def segmentation(directory):
    return open_volume(directory / "segmentation.zarr").read(WHOLE)


def tries(directory):
    """Of each stage, how often its tasks were begun."""
    with Ledger(directory / "ledger.sqlite", readonly=True) as ledger:
        rows = ledger._db.execute("SELECT stage, number, attempts FROM tasks ORDER BY stage, number").fetchall()
    return {(stage, number): attempts for stage, number, attempts in rows}


def again(directory):
    return sorted(task for task, attempts in tries(directory).items() if attempts > 1)


def look(directory):
    found = audit(directory, Silent)
    assert found.exit_status == (1 if found.findings.count else 0)
    return [(listed.stage, listed.flaw.index, str(listed.box), listed.flaw.reason) for listed in found.findings.listed]


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 3] ^= 4
    path.write_bytes(content)


def truncate(path):
    path.write_bytes(path.read_bytes()[:-9])


def remove(path):
    path.unlink()


SHARD = "0/c/1/0/0"  # of block (1, 0, 0)


def test_a_run_that_is_fine_is_found_fine_and_left_alone(directory):
    before = {path: path.stat().st_mtime_ns for path in directory.rglob("*") if path.is_file()}
    assert look(directory) == []
    assert {path: path.stat().st_mtime_ns for path in directory.rglob("*") if path.is_file()} == before
    assert audit(directory, Silent, repair=True).redone is None
    assert again(directory) == []
    assert "all are there, and equal their checksums" in audit_text(audit(directory, Silent))


@pytest.mark.parametrize("harm", [flip, truncate, remove])
@pytest.mark.parametrize(
    ("pattern", "stage", "index", "box"),
    [
        (f"supervoxels.zarr/{SHARD}", "supervoxels", (1, 0, 0), "[3:6, 0:12, 0:20]"),
        (f"segmentation.zarr/{SHARD}", "relabel", (1, 0, 0), "[3:6, 0:12, 0:20]"),
        ("tables/agglomerate-1/0/0/0.parquet", "agglomerate-1", (0, 0, 0), "[0:6, 0:24, 0:20]"),
        ("tables/faces/1/1/0.parquet", "faces", (1, 1, 0), "[3:6, 12:24, 0:20]"),
        ("scores.json", "scores", (0, 0, 0), "[0:6, 0:24, 0:20]"),
    ],
)
def test_damage_is_found_named_and_mended(directory, pattern, stage, index, box, harm):
    before = segmentation(directory)
    (path,) = files(directory, pattern)
    harm(path)
    if not (harm is remove and stage == "scores"):
        ((found, where, voxels, reason),) = look(directory)
        assert (found, where, voxels) == (stage, index, box)
        assert reason
    mended = audit(directory, Silent, repair=True)
    assert mended.exit_status == 0
    assert audit_json(mended)["flawed"] == mended.findings.count >= 1
    assert look(directory) == []
    assert np.array_equal(segmentation(directory), before)


def test_what_comes_out_the_same_again_is_all_that_is_done_again(directory):
    flip(directory / "supervoxels.zarr" / SHARD)
    found = audit(directory, Silent, repair=True)
    assert (found.redone, again(directory)) == (1, [("supervoxels", 2)])


def test_what_may_have_been_taken_for_good_is_done_again_with_what_needed_it(directory):
    remove(directory / "supervoxels.zarr" / SHARD)
    assert look(directory)[0][3] == "it reads as if it had never been written"
    found = audit(directory, Silent, repair=True)
    assert {stage for stage, _ in again(directory)} == {"supervoxels", "faces", "agglomerate-0", "relabel"}
    assert found.redone == len(again(directory)) < len(tries(directory))


def test_what_was_made_from_damaged_data_is_made_anew(made, tmp_path, monkeypatch):
    """A chunk disappears between the task that wrote it and the one that reads it, so that a wrong result is stored."""
    from petavox.tasks import relabel

    real = relabel.run

    def after_loss(config, index):
        (tmp_path / "run" / "supervoxels.zarr" / SHARD).unlink(missing_ok=True)
        return real(config, index)

    monkeypatch.setattr(relabel, "run", after_loss)
    run(load(made / "recipe.toml"), tmp_path / "run", Silent())
    monkeypatch.undo()
    right = segmentation(made / "run")
    assert not np.array_equal(segmentation(tmp_path / "run"), right)
    assert [stage for stage, *_ in look(tmp_path / "run")] == ["supervoxels"], (
        "the wrong result is stored as it was made"
    )
    assert audit(tmp_path / "run", Silent, repair=True).exit_status == 0
    assert np.array_equal(segmentation(tmp_path / "run"), right)
    assert look(tmp_path / "run") == []


@pytest.mark.parametrize("gone", ["supervoxels.zarr", "tables/assign-1", "segmentation.zarr/zarr.json"])
def test_whole_outputs_that_have_gone_or_cannot_be_opened_are_made_again(directory, gone):
    before = segmentation(directory)
    path = directory / gone
    shutil.rmtree(path) if path.is_dir() else path.write_text("{}")
    assert len(look(directory)) >= 1
    assert audit(directory, Silent, repair=True).exit_status == 0
    assert look(directory) == []
    assert np.array_equal(segmentation(directory), before)


def test_a_cut_is_audited_like_any_run(directory):
    recipe, place = plan_cut(directory, "0.7")
    run(recipe, place, Silent())
    before = segmentation(place)
    truncate(place / "segmentation.zarr" / SHARD)
    assert [stage for stage, *_ in look(place)] == ["relabel"]
    assert audit(place, Silent, repair=True).exit_status == 0
    assert np.array_equal(segmentation(place), before)


def test_a_run_whose_recipe_has_changed_since_is_not_judged_by_it(directory):
    recipe = directory / "recipe.toml"
    recipe.write_text(recipe.read_text().replace("threshold = 0.5", "threshold = 0.6"))
    with pytest.raises(RequestError, match=r"threshold 0\.5 → 0\.6\..*petavox retry"):
        look(directory)


@pytest.mark.parametrize("share", [0.0, 0.5, 0.97, None])
def test_a_ledger_that_is_damaged_or_gone_is_refused_with_the_cure_and_its_copy_takes_over(made, directory, share):
    before, path = segmentation(directory), directory / "ledger.sqlite"
    content = path.read_bytes()
    path.unlink()
    if share is not None:
        path.write_bytes(content[: int(share * len(content)) or 7])
    for attempt in (lambda: look(directory), lambda: run(load(directory / "recipe.toml"), directory, Silent())):
        with pytest.raises(RequestError, match=r"ledger.*petavox audit .* --repair"):
            attempt()
    found = audit(directory, Silent, repair=True)
    assert "its copy has taken its place" in audit_text(found)
    assert (found.exit_status, found.redone) == (0, None)
    assert again(directory) == []
    run(load(made / "recipe.toml"), directory, Silent())
    assert np.array_equal(segmentation(directory), before)


def test_a_copy_that_knows_less_loses_nothing_but_time(made, directory):
    before = segmentation(directory)
    with sqlite3.connect(directory / "ledger.copy.sqlite") as copy:
        copy.execute("DELETE FROM rows WHERE number = 1")
    copy.close()
    (directory / "ledger.sqlite").unlink()
    assert audit(directory, Silent, repair=True).exit_status == 0
    run(load(made / "recipe.toml"), directory, Silent())
    assert look(directory) == []
    assert np.array_equal(segmentation(directory), before)


def test_without_a_copy_nothing_is_known(directory):
    (directory / "ledger.copy.sqlite").unlink()
    (directory / "ledger.sqlite").write_bytes(b"x" * 5000)
    with pytest.raises(RequestError, match="no copy of it"):
        audit(directory, Silent, repair=True)


def test_dependents_are_those_that_need_one_of_them(tmp_path):
    a, b, c = blocks.chain(tmp_path, 4)
    needs = {"b": lambda index: [(0, 0, n) for n in range(max(0, index[2] - 1), index[2] + 1)]}
    c = type(c)(**(vars(c) | {"needs": needs}))
    end = type(c)(**(vars(c) | {"name": "d", "needs": {"c": Whole(c.grid)}, "grid": (1, 1, 1)}))
    stages = [a, b, c, end]
    one = np.array([False, True, False, False])
    assert {name: mask.tolist() for name, mask in dependents(stages, {"a": one}).items()} == {"b": one.tolist()}
    assert dependents(stages, {"b": one})["c"].tolist() == [False, True, True, False]
    assert dependents(stages, {"c": one})["d"].tolist() == [True]
    assert dependents(stages, {"a": ~one & one}) == {}


class Losing:
    """An elastic executor that loses every third call, and has no workers until it is told what waits for them."""

    dashboard = None

    def __init__(self, place, function):
        self.function, self.calls, self.made, self.workers = function, [], 0, 0

    def expect(self, ready):
        self.workers = min(2, ready["cpu"])

    def capacity(self):
        return {"cpu": self.workers}

    def submit(self, key, pool, *arguments):
        self.calls.append((key, arguments))
        assert len(self.calls) <= 2

    def completed(self, timeout):
        self.made += 1
        key, arguments = self.calls.pop()
        if self.made % 3 == 0:
            return [Completion(key, lost=True)]
        return [Completion(key, self.function(*arguments))]

    def close(self):
        self.calls = []


def test_everything_is_looked_at_though_workers_are_lost(made, monkeypatch):
    monkeypatch.setattr(audit_blocks, "GROUP", 2)
    monkeypatch.setattr(cluster, "start", Losing)
    progress = Silent()
    found = audit(made / "run", lambda: progress)
    assert found.findings.count == 0
    assert found.findings.checked == len(tries(made / "run")) == sum(progress.advanced.values())
