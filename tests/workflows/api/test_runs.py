"""A run from Python is the run of the command line: the same result, the same continuation, never half a result."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

import petavox
from petavox.pipeline.errors import RequestError, TaskError
from petavox.tasks import supervoxels
from petavox.workflows.run_directory.ledger import Ledger
from petavox.workflows.runs import run as running


@pytest.fixture
def run(finished, tmp_path):
    """A copy of the finished run."""
    shutil.copytree(finished, tmp_path / "run")
    return petavox.open_run(tmp_path / "run")


def in_memory(run, **settings):
    return petavox.segment(run.affinities[:], join_size=10, **settings)


def test_a_run_from_a_dict_gives_what_memory_gives_and_scores_it(finished, small):
    run = petavox.open_run(str(finished))
    np.testing.assert_array_equal(run.segmentation[:], in_memory(run, threshold=0.6))
    assert run.scores.adapted_rand_error < 0.01
    assert run.affinities.path == str(small / "affinities.zarr")
    assert run.raw is None
    assert "threshold = 0.6" in run.recipe


def test_the_same_call_continues_and_another_value_computes_what_depends_on_it(recipe, run, capfd):
    petavox.run(recipe, str(run.path))
    assert "Everything is done already." in capfd.readouterr().err
    again = petavox.run(recipe, run.path, **{"agglomeration.threshold": 0.7})
    assert "threshold 0.6 → 0.7" in capfd.readouterr().err
    np.testing.assert_array_equal(again.segmentation[:], in_memory(run, threshold=0.7))


def test_nothing_is_shown_where_no_progress_is_wanted(recipe, run, capfd):
    petavox.run(recipe, run.path, progress=False, **{"agglomeration.threshold": 0.5})
    assert capfd.readouterr() == ("", "")


def test_a_run_whose_blocks_failed_raises_says_which_and_hands_out_no_half_result(recipe, tmp_path, monkeypatch):
    def fail(config, index):
        raise OSError("no luck here")

    monkeypatch.setattr(supervoxels, "run", fail)
    monkeypatch.setattr(running.run, "__kwdefaults__", {"backoff": 0.0, "force": ()})
    with pytest.raises(TaskError, match=r"(?s)tasks failed.*no luck here"):
        petavox.run(recipe, tmp_path / "run", progress=False)
    run = petavox.open_run(tmp_path / "run")
    assert not run.status().done
    assert "no luck here" in run.status().failures[0]
    assert "no luck here" in run._repr_html_()
    assert run.scores is None
    for name in ("segmentation", "supervoxels"):
        with pytest.raises(RequestError, match="must be done first; 0 of 4"):
            getattr(run, name)


def test_what_is_no_run_directory_is_refused_at_once(tmp_path):
    with pytest.raises(RequestError, match="Name the directory of a run"):
        petavox.open_run(tmp_path)


def test_supervoxels_have_ids_of_their_own_and_segments_are_made_of_them(finished):
    run = petavox.open_run(finished)
    volume, segments = run.supervoxels, run.segmentation[:]
    labels = volume[:]
    assert (volume.dtype, labels.dtype) == (np.uint64, np.uint64)
    ids, first = np.unique(labels[labels != 0], return_index=True)
    np.testing.assert_array_equal(labels.ravel()[ids.astype(int) - 1], ids, "an id is its first voxel's")
    assert all(len(np.unique(segments[labels == i])) == 1 for i in ids[first.argsort()[:50]])
    np.testing.assert_array_equal(volume[2:8, 15:25, 3:30], labels[2:8, 15:25, 3:30])
    with pytest.raises(RequestError, match="no path of their own"):
        petavox.evaluate(volume, run.segmentation)


def test_a_cut_is_a_run_of_its_own_and_knows_whose_supervoxels_it_has(run):
    cut = run.cut(threshold=0.9, progress=False, cluster="serial", **{"agglomeration.dust_size": 5})
    assert cut.path == run.path / "cuts" / "threshold=0.9-dust_size=5"
    expected = in_memory(run, threshold=0.9, dust_size=5)
    np.testing.assert_array_equal(cut.segmentation[:], expected)
    np.testing.assert_array_equal(cut.supervoxels[:], run.supervoxels[:])
    with pytest.raises(RequestError, match="starts from the supervoxels of another run"):
        _ = cut.affinities
    with pytest.raises(RequestError, match="not in blocks"):
        run.cut(0.5, **{"blocks.shape": (10, 20, 36)})


def test_stages_are_a_table_of_numbers(finished):
    run = petavox.open_run(finished)
    with Ledger(finished / "ledger.sqlite", readonly=True) as ledger:
        summaries = ledger.summaries()
    assert run.stages["stage"] == [summary.name for summary in summaries]
    assert run.stages["done"] == run.stages["tasks"] == [summary.tasks for summary in summaries]
    assert run.status().done


def test_scores_are_none_while_they_are_not_those_of_the_run(run):
    with Ledger(run.path / "ledger.sqlite") as ledger:
        ledger.forget("scores")
    assert run.scores is None


def test_a_notebook_shows_the_report_as_a_page_of_its_own(run):
    shown = run.report._repr_html_()
    page = (run.path / "report.html").read_text()
    assert shown.startswith("<iframe srcdoc=")
    assert "<html" not in shown
    assert len(shown) > len(page)
    (run.path / "report.html").unlink()
    with pytest.raises(RequestError, match="has none yet"):
        _ = run.report


def test_the_contact_graph_is_that_of_the_function(run):
    box = ((0, 0, 0), (10, 20, 20))
    assert dict(run.contact_graph(box).edges) == dict(petavox.contact_graph(run.path, box).edges)
