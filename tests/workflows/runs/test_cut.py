"""A cut is bit for bit what a fresh run with its settings gives, and reads no affinity."""

from __future__ import annotations

import json
import shutil
from decimal import Decimal

import numpy as np
import pytest
from fakes.shuffled import Silent

from petavox import segment
from petavox.pipeline.errors import RequestError
from petavox.pipeline.geometry import Box
from petavox.pipeline.volumes import VolumeSpec, create_volume, open_volume
from petavox.workflows.recipes.segmentation_recipe import Agglomeration, load
from petavox.workflows.run_directory.ledger import Ledger
from petavox.workflows.run_directory.lock import locked
from petavox.workflows.runs.cut import name_of, plan_cut
from petavox.workflows.runs.run import run

SHAPE = (10, 40, 36)
NEAREST = ((1, 0, 0), (0, 1, 0), (0, 0, 1))


@pytest.fixture(scope="module")
def affinities():
    return np.random.default_rng(7).integers(0, 256, (3, *SHAPE)).astype(np.uint8)


@pytest.fixture(scope="module")
def finished(tmp_path_factory, affinities):
    """A run that is done, and whose affinities have gone."""
    return finish(tmp_path_factory.mktemp("finished"), affinities)


def finish(folder, affinities, *overrides):
    spec = VolumeSpec(SHAPE, "uint8", (30, 6, 6), channels=3, offsets=NEAREST, chunk=SHAPE)
    create_volume(folder / "affinities.zarr", spec).write(Box.of_shape(SHAPE), affinities)
    truth = create_volume(folder / "truth.zarr", VolumeSpec(SHAPE, "uint64", (30, 6, 6), chunk=SHAPE))
    truth.write(Box.of_shape(SHAPE), segment(affinities, threshold="0.6"))
    (folder / "recipe.toml").write_text(
        """
        input.affinities = "affinities.zarr"
        blocks.shape = [5, 20, 36]
        agglomeration.threshold = 0.55
        evaluate.truth = "truth.zarr"
        cluster.kind = "serial"
        """
    )
    assert run(load(folder / "recipe.toml", overrides), folder / "run", Silent()).exit_status == 0
    shutil.rmtree(folder / "affinities.zarr")
    return folder / "run"


@pytest.fixture
def directory(finished, tmp_path):
    """A copy of it that a test may spoil."""
    return shutil.copytree(finished, tmp_path / "run")


def cut(directory, threshold, *overrides, out=None):
    notes = Silent()
    return run(*plan_cut(directory, threshold, overrides, out), notes), notes.lines


def voxels(ending):
    return open_volume(ending.segmentation).read(Box.of_shape(SHAPE))


def contents(directory):
    """All that a run has made itself; SQLite's scratch files appear for whoever looks into its ledger."""
    files = (path for path in directory.rglob("*") if path.is_file() and directory / "cuts" not in path.parents)
    return {path: path.read_bytes() for path in files if path.name not in ("ledger.sqlite-shm", "ledger.sqlite-wal")}


@pytest.mark.parametrize(
    ("threshold", "settings"),
    [("0.6", {}), ("0.7", {"small_size": 9, "small_threshold": 0.4}), ("0.3", {"dust_size": 50}), ("1.0", {})],
)
def test_a_cut_is_what_a_fresh_run_gives_and_leaves_its_run_alone(affinities, directory, threshold, settings):
    before = contents(directory)
    ending, _ = cut(directory, threshold, *(f"agglomeration.{name}={value}" for name, value in settings.items()))
    assert ending.exit_status == 0
    assert np.array_equal(voxels(ending), segment(affinities, threshold=threshold, **settings))
    assert contents(directory) == before


def test_histograms_serve_every_quantile_and_the_mean(tmp_path, affinities):
    directory = finish(tmp_path, affinities, "agglomeration.linkage=quantile", "agglomeration.levels=16")
    for settings in ({"linkage": "quantile", "quantile": 0.3}, {"linkage": "mean"}):
        ending, _ = cut(directory, "0.6", *(f"agglomeration.{name}={value}" for name, value in settings.items()))
        assert np.array_equal(voxels(ending), segment(affinities, threshold="0.6", levels=16, **settings))
    with pytest.raises(RequestError, match=r"others: levels 16 → 64\. That needs the affinities"):
        cut(directory, "0.6", "agglomeration.levels=64")


def test_tables_without_histograms_serve_no_quantile(directory):
    with pytest.raises(RequestError, match=r"others: levels 0 → 64\. That needs the affinities"):
        cut(directory, "0.6", "agglomeration.linkage=quantile")


def test_a_cut_is_a_run_with_scores_a_report_and_a_ledger(directory):
    ending, _ = cut(directory, "0.6")
    assert ending.directory == directory / "cuts" / "threshold=0.6"
    assert json.loads((ending.directory / "scores.json").read_text())["adapted_rand_error"] < 0.01
    assert (ending.directory / "report.html").exists()
    with Ledger(ending.directory / "ledger.sqlite", readonly=True) as ledger:
        names = [summary.name for summary in ledger.summaries()]
        assert names == ["agglomerate-0", "agglomerate-1", "assign-1", "relabel", "contingency", "scores"]


def test_a_cut_that_was_stopped_continues(directory, affinities, monkeypatch):
    from petavox.tasks import relabel

    def stopped(config, index):
        raise KeyboardInterrupt

    monkeypatch.setattr(relabel, "run", stopped)
    with pytest.raises(KeyboardInterrupt):
        cut(directory, "0.6")
    monkeypatch.undo()
    place = directory / "cuts" / "threshold=0.6"
    ending = run(load(place / "recipe.toml"), place, Silent())
    assert np.array_equal(voxels(ending), segment(affinities, threshold="0.6"))
    with Ledger(place / "ledger.sqlite", readonly=True) as ledger:
        assert {s.name: s.attempts for s in ledger.summaries()}["agglomerate-0"] == 4


def test_a_run_and_its_cuts_may_be_moved_together(directory, tmp_path):
    cut(directory, "0.6")
    directory.rename(tmp_path / "moved")
    _, notes = cut(tmp_path / "moved", "0.60")
    assert notes == ["Everything is done already."]


def test_a_cut_of_a_cut_is_one_of_its_run(directory, tmp_path, affinities):
    first, _ = cut(directory, "0.6", "agglomeration.dust_size=5", out=tmp_path / "elsewhere")
    second, _ = cut(first.directory, "0.7")
    assert second.directory == directory / "cuts" / "threshold=0.7-dust_size=5"
    assert np.array_equal(voxels(second), segment(affinities, threshold="0.7", dust_size=5))


def test_supervoxels_made_anew_are_not_what_a_cut_was_begun_on(directory):
    cut(directory, "0.6")
    ledger = Ledger(directory / "ledger.sqlite")
    with ledger, ledger._db:
        ledger._db.execute("UPDATE stages SET ingredients = replace(ingredients, '0.9999', '0.999')")
    with pytest.raises(RequestError, match=r"high 0\.999 → 0\.9999"):
        cut(directory, "0.6")
    recipe, place = plan_cut(directory, "0.6")
    high = recipe.supervoxels.model_copy(update={"high": "0.999"})
    with pytest.raises(RequestError, match=r"begun otherwise: input\.run \(.*no longer what it was"):
        run(recipe.model_copy(update={"supervoxels": high}), place, Silent())


def test_supervoxels_that_are_not_done_are_refused(directory):
    ledger = Ledger(directory / "ledger.sqlite")
    with ledger, ledger._db:
        ledger._db.execute("DELETE FROM rows WHERE stage = (SELECT id FROM stages WHERE name = 'faces') AND number = 3")
    with pytest.raises(RequestError, match=r"faces of .*run must be done first; 3 of 4 tasks are\. petavox retry"):
        cut(directory, "0.6")
    assert not (directory / "cuts").exists()


def test_a_run_stays_as_it_is_while_a_cut_reads_from_it(directory, monkeypatch):
    from petavox.tasks import relabel

    seen = []

    def looked_at(config, index):
        with pytest.raises(RequestError, match="in use by a run that reads from it"), locked(directory):
            pass
        seen.append(index)
        return real(config, index)

    real = relabel.run
    monkeypatch.setattr(relabel, "run", looked_at)
    assert cut(directory, "0.6")[0].exit_status == 0
    assert len(seen) == 4


def test_a_run_that_is_at_work_is_not_cut(directory):
    with locked(directory), pytest.raises(RequestError, match=r"in use by process \d+ on .* Wait for it"):
        cut(directory, "0.6")
    assert not (directory / "cuts").exists()


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("supervoxels.high=0.99", "not in supervoxels: that needs the affinities"),
        ("blocks.shape=[10,20,36]", "not in blocks"),
        ("agglomeration.treshold=0.5", "Did you mean 'agglomeration.threshold'"),
        ("agglomeration.small_threshold=2", "small_threshold: must be a decimal"),
    ],
)
def test_what_a_cut_cannot_change_is_refused(directory, override, message):
    with pytest.raises(RequestError, match=message):
        cut(directory, "0.6", override)
    assert not (directory / "cuts").exists()


def test_a_recipe_that_starts_from_a_run_must_agree_with_it(directory):
    recipe, place = plan_cut(directory, "0.6")
    low = recipe.supervoxels.model_copy(update={"low": "0.1"})
    with pytest.raises(RequestError, match=r"others: low 0\.02 → 0\.1\. That needs the affinities"):
        run(recipe.model_copy(update={"supervoxels": low}), place, Silent())


def test_names_tell_settings_apart_and_nothing_else():
    assert name_of(Agglomeration(threshold=Decimal("0.40"))) == name_of(Agglomeration(threshold=0.4)) == "threshold=0.4"
    assert name_of(Agglomeration(dust_size=3)) == "threshold=0.5-dust_size=3"
