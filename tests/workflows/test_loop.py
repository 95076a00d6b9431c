"""The run loop, with executors that answer in any order, lose calls, and break."""

from __future__ import annotations

import pytest
from fakes import blocks
from fakes.shuffled import Shuffled, Silent
from hypothesis import given, settings
from hypothesis import strategies as st

from petavox import cluster
from petavox.pipeline.errors import RequestError, StorageError
from petavox.workflows.fingerprint import ingredients
from petavox.workflows.ledger import Ledger
from petavox.workflows.loop import MAX_FAILURES, MAX_LOSSES, Loop


def drive(folder, stages, executor=None, progress=None):
    executor = executor or cluster.start(cluster.Place("serial"), blocks.perform)
    marks = {name: mark for name, (mark, _) in ingredients(stages, folder, {}).items()}
    with Ledger(folder / "ledger.sqlite") as ledger:
        ledger.begin()
        ledger.adopt((stage.name, len(stage), marks[stage.name], {}) for stage in stages)
        done = {stage.name: ledger.done(stage.name, len(stage), marks[stage.name]) for stage in stages}
        result = Loop(stages, marks, done, ledger, executor, progress or Silent(), backoff=0.0).run()
        return result, {summary.name: summary for summary in ledger.summaries()}


@settings(max_examples=20)
@given(st.integers(), st.integers(1, 5))
def test_everything_runs_once_whatever_the_order_of_completion(tmp_path_factory, seed, window):
    folder = tmp_path_factory.mktemp("run")
    result, summaries = drive(folder, blocks.chain(folder, 6), Shuffled(blocks.perform, seed, window))
    assert (result.failed, result.blocked) == (0, 0)
    for stage in "abc":
        assert blocks.tries(folder, stage) == dict.fromkeys(range(6), 1)
        assert (summaries[stage].done, summaries[stage].attempts) == (6, 6)


def test_what_is_done_is_not_done_again(tmp_path):
    stages = blocks.chain(tmp_path, 4)
    drive(tmp_path, stages)
    progress = Silent()
    drive(tmp_path, stages, progress=progress)
    assert blocks.tries(tmp_path, "c") == dict.fromkeys(range(4), 1)
    assert progress.begun == dict.fromkeys("abc", (4, 4))


def test_a_task_that_fails_for_a_while_is_tried_again(tmp_path):
    stages = blocks.chain(tmp_path, 4, b={"trouble": "raise", "at": 2, "times": MAX_FAILURES - 1})
    result, summaries = drive(tmp_path, stages)
    assert result.failed == 0
    assert blocks.tries(tmp_path, "b") == {0: 1, 1: 1, 2: MAX_FAILURES, 3: 1}
    assert summaries["b"].attempts == 3 + MAX_FAILURES


def test_a_task_that_always_fails_is_set_aside_with_its_traceback_and_the_rest_goes_on(tmp_path):
    stages = blocks.chain(tmp_path, 4, b={"trouble": "raise", "at": 2})
    progress = Silent()
    result, summaries = drive(tmp_path, stages, progress=progress)
    assert (result.failed, result.blocked) == (1, 1)
    assert progress.failed == {"b": 1}
    assert set(blocks.results(tmp_path, "c")) == {0, 1, 3}
    assert summaries["c"].attempts == 3, "what needs a failed task is not run"
    with Ledger(tmp_path / "ledger.sqlite", readonly=True) as ledger:
        ((stage, number, attempts, error),) = ledger.failures()
    assert (stage, number, attempts) == ("b", 2, MAX_FAILURES)
    assert error.startswith("ValueError: bad block")
    assert "Traceback" in error


def test_running_again_tries_what_failed_and_then_what_needs_it(tmp_path):
    stages = blocks.chain(tmp_path, 4, b={"trouble": "raise", "at": 2, "times": MAX_FAILURES})
    drive(tmp_path, stages)
    result, summaries = drive(tmp_path, stages)
    assert (result.failed, summaries["b"].failed, summaries["c"].done) == (0, 0, 4)
    assert blocks.tries(tmp_path, "a") == dict.fromkeys(range(4), 1)


@settings(max_examples=10)
@given(st.integers())
def test_lost_calls_are_made_again(tmp_path_factory, seed):
    folder = tmp_path_factory.mktemp("run")
    result, _ = drive(folder, blocks.chain(folder, 6), Shuffled(blocks.perform, seed, 3, losing=0.1))
    assert result.failed == 0
    assert set(blocks.results(folder, "c")) == set(range(6))


def test_a_task_that_always_loses_its_worker_is_set_aside(tmp_path):
    result, summaries = drive(tmp_path, blocks.chain(tmp_path, 1, "a"), Shuffled(blocks.perform, 0, 1, losing=1.0))
    assert (result.failed, summaries["a"].attempts) == (1, MAX_LOSSES)


def test_a_task_that_finds_the_request_wrong_ends_the_run_and_names_itself(tmp_path):
    stages = blocks.chain(tmp_path, 4, b={"trouble": "request", "at": 1})
    with pytest.raises(RequestError, match=r"b \(0, 0, 1\): NaN in it"):
        drive(tmp_path, stages)
    assert blocks.tries(tmp_path, "b")[1] == 1


def test_storage_that_keeps_refusing_ends_the_run(tmp_path):
    stages = blocks.chain(tmp_path, 8, "a", a={"trouble": "storage", "at": 1})
    with pytest.raises(StorageError, match=r"a \(0, 0, 1\): disk full"):
        drive(tmp_path, stages)
    assert blocks.tries(tmp_path, "a")[1] == MAX_FAILURES


def test_an_executor_that_cannot_run_anything_is_reported_with_what_it_said(tmp_path):
    stages = blocks.chain(tmp_path, 1, "a")
    result, _ = drive(tmp_path, stages, cluster.start(cluster.Place("serial"), len))
    assert result.failed == 1
    with Ledger(tmp_path / "ledger.sqlite", readonly=True) as ledger:
        assert ledger.failures()[0][3].startswith("TypeError: len()")
