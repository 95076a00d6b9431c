"""The run loop, with executors that answer in any order, lose calls, and break."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from fakes import blocks
from fakes.shuffled import Shuffled, Silent
from hypothesis import given, settings
from hypothesis import strategies as st

from petavox import cluster
from petavox.pipeline.errors import ClusterError, CrashBudgetError, RequestError, StorageError
from petavox.tasks.contract import Resources
from petavox.workflows.execution import loop
from petavox.workflows.execution.loop import Loop
from petavox.workflows.execution.retries import MAX_FAILURES, MAX_LOSSES
from petavox.workflows.recipes.segmentation_recipe import Limits
from petavox.workflows.run_directory.ledger import Ledger
from petavox.workflows.stages.fingerprint import ingredients


def drive(folder, stages, executor=None, progress=None, **options):
    executor = executor or cluster.start(cluster.ClusterSpec("serial"), blocks.perform)
    marks = {name: mark for name, (mark, _) in ingredients(stages, folder, {}).items()}
    with Ledger(folder / "ledger.sqlite") as ledger:
        ledger.begin()
        ledger.adopt((stage.name, len(stage), marks[stage.name], {}) for stage in stages)
        result = Loop(stages, marks, ledger, progress or Silent(), backoff=0.0, **options).run(executor)
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


@settings(max_examples=5)
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
    result, _ = drive(tmp_path, stages, cluster.start(cluster.ClusterSpec("serial"), len))
    assert result.failed == 1
    with Ledger(tmp_path / "ledger.sqlite", readonly=True) as ledger:
        assert ledger.failures()[0][3].startswith("TypeError: len()")


def names(executor):
    """The stage of every call, the numbers of its tasks, and the stages of the calls in flight beside it."""

    def stage(config):
        return json.loads(config)["stage"]

    return [(stage(config), numbers, list(map(stage, others))) for config, numbers, others in executor.history]


@settings(max_examples=5)
@given(st.integers(), st.integers(1, 3))
def test_short_tasks_go_in_calls_of_several_neighbours_after_one_has_been_timed(tmp_path_factory, seed, window):
    folder = tmp_path_factory.mktemp("run")
    executor = Shuffled(blocks.perform, seed, window)
    drive(folder, blocks.chain(folder, 100, "ab"), executor)
    for stage in "ab":
        assert blocks.tries(folder, stage) == dict.fromkeys(range(100), 1)
        sizes = [len(numbers) for name, numbers, _ in names(executor) if name == stage]
        assert sizes[0] == 1
        assert 1 < max(sizes) <= max(1, 100 // (2 * window))
        assert len(sizes) < 90
    assert all(numbers == sorted(numbers) for _, numbers, _ in names(executor))


@settings(max_examples=5)
@given(st.integers(), st.integers(2, 3))
def test_no_task_of_a_call_is_begun_after_its_time_and_the_rest_is_done_later(tmp_path_factory, seed, window):
    folder = tmp_path_factory.mktemp("run")
    executor = Shuffled(blocks.perform, seed, window)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "CALL_SECONDS", 0.0)  # but calls are made as for a second
        result, summaries = drive(folder, blocks.chain(folder, 100, "ab"), executor)
    assert result.failed == 0
    assert any(len(numbers) > 1 for _, numbers, _ in names(executor))
    for stage in "ab":
        assert blocks.tries(folder, stage) == dict.fromkeys(range(100), 1)
        assert summaries[stage].attempts == 100


@settings(max_examples=5)
@given(st.integers(), st.integers(1, 3), st.booleans())
def test_many_blocks_wait_until_one_of_their_stage_has_succeeded(tmp_path_factory, seed, window, failing):
    folder = tmp_path_factory.mktemp("run")
    executor = Shuffled(blocks.perform, seed, window)
    trouble = {"trouble": "raise", "at": 0} if failing else {}
    drive(folder, blocks.chain(folder, loop.CANARY * window, "ab", a=trouble), executor)
    for stage in "ab":
        alone = [(numbers, others) for name, numbers, others in names(executor) if name == stage]
        first = MAX_FAILURES + 1 if failing and stage == "a" else 1
        for numbers, others in alone[:first]:
            assert len(numbers) == 1
            assert stage not in others
    if failing:
        assert [numbers for name, numbers, _ in names(executor) if name == "a"][: MAX_FAILURES + 1] == [[0]] * 3 + [[1]]


def test_few_blocks_do_not_wait_for_one_of_them_nor_do_those_of_a_stage_that_has_succeeded_before(tmp_path):
    window = 3
    for name in ("few", "begun"):
        (tmp_path / name).mkdir()
    few = Shuffled(blocks.perform, 0, window)
    drive(tmp_path / "few", blocks.chain(tmp_path / "few", loop.CANARY * window - 1, "a"), few)
    begun = blocks.chain(tmp_path / "begun", loop.CANARY * window, "a", a={"trouble": "request", "at": 30})
    with pytest.raises(RequestError):
        drive(tmp_path / "begun", begun)
    again = Shuffled(blocks.perform, 0, window)
    with pytest.raises(RequestError):
        drive(tmp_path / "begun", begun, again)
    for executor in (few, again):
        assert [others for _, _, others in names(executor)[:window]] == [[], ["a"], ["a", "a"]]


@settings(max_examples=5)
@given(st.integers(), st.integers(1, 3), st.integers(0, 79))
def test_of_a_lost_call_each_task_is_tried_alone_so_that_the_culprit_alone_is_set_aside(
    tmp_path_factory, seed, window, culprit
):
    folder = tmp_path_factory.mktemp("run")
    executor = Shuffled(blocks.perform, seed, window, culprit=culprit)
    result, summaries = drive(folder, blocks.chain(folder, 80, "a"), executor)
    assert (result.failed, summaries["a"].done) == (1, 79)
    assert set(blocks.results(folder, "a")) == set(range(80)) - {culprit}
    calls = [numbers for _, numbers, _ in names(executor)]
    together = [numbers for numbers in calls if culprit in numbers and len(numbers) > 1]
    assert len(together) <= 1, "in company once, then alone"
    assert calls.count([culprit]) == MAX_LOSSES
    assert all(calls.count([number]) == 1 for numbers in together for number in numbers if number != culprit)


def test_a_run_that_fails_everywhere_stops_and_says_why(tmp_path):
    executor = Shuffled(blocks.perform, 0, 2)
    (tmp_path / "file").touch()
    stages = blocks.chain(tmp_path / "file", 1000, "a")
    with pytest.raises(CrashBudgetError, match=r"10 of the 10 .* 10 × NotADirectoryError"):
        drive(tmp_path, stages, executor)
    assert len(executor.history) == 10 * MAX_FAILURES


def test_a_pool_without_workers_is_waited_for_and_told_how_many_calls_there_are(tmp_path):
    class Queued(Shuffled):
        waits = 3

        def capacity(self):
            return {"cpu": 0 if self.waits else 2}

        def completed(self, timeout):
            self.waits = max(0, self.waits - 1)
            return super().completed(timeout)

    executor = Queued(blocks.perform, 0, 2)
    result, _ = drive(tmp_path, blocks.chain(tmp_path, 5, "a"), executor)
    assert result.failed == 0
    assert executor.expected[0] == {"cpu": 5}


def test_a_stage_for_which_the_executor_has_no_pool_is_refused(tmp_path):
    (stage,) = blocks.chain(tmp_path, 1, "a")
    with pytest.raises(ClusterError, match="gpu"):
        drive(tmp_path, [replace(stage, resources=Resources(0, gpu=True))], Shuffled(blocks.perform, 0, 1))


def test_a_task_that_hangs_is_ended_and_tried_again_and_the_log_has_where_it_was(tmp_path, caplog):
    stages = blocks.chain(tmp_path, 3, "a", a={"trouble": "hang", "at": 1, "times": 1})
    executor = cluster.start(
        cluster.ClusterSpec("local", {"cpu": cluster.PoolSpec(2, 10**9)}, tmp_path), blocks.perform
    )
    try:
        limits = Limits(task="1s")
        result, summaries = drive(tmp_path, stages, executor, limits=limits, hangs=tmp_path / "hangs")
    finally:
        executor.close()
    assert (result.failed, summaries["a"].done, summaries["a"].attempts) == (0, 3, 4)
    assert "a (0, 0, 1) failed: it took longer than limits.task = 1s" in caplog.text
    assert "blocks.py" in caplog.text
    assert not (tmp_path / "hangs").exists()
