"""Tasks start after everything that they need, every one of them is settled, and failures stop only what needs them."""

from __future__ import annotations

import random
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from petavox.pipeline.geometry import Triple
from petavox.tasks.contract import TaskConfig
from petavox.workflows.execution import ready_tasks
from petavox.workflows.execution.bitmap import Bitmap
from petavox.workflows.execution.ready_tasks import Readiness, Task
from petavox.workflows.stages.stage import Stage, Whole

Links = list[list[list[tuple[int, int]]]]  # for each stage and task, the (stage, number) that it needs


def stage(position: int, links: list[list[tuple[int, int]]]) -> Stage:
    earlier = sorted({needed for task in links for needed, _ in task})

    def needs(of: int):
        return lambda index: [(0, 0, number) for needed, number in links[index[2]] if needed == of]

    return Stage(str(position), "fake", 1, TaskConfig(), (1, 1, len(links)), {str(s): needs(s) for s in earlier})


def begun(stages: Sequence[Stage], done: Sequence[bool] = ()) -> Readiness:
    """Of a run, of whose first stage so much is done."""

    def of(stage: Stage):
        return np.array(done, bool) if stage is stages[0] and len(done) else np.zeros(len(stage), bool)

    return Readiness(stages, of)


@st.composite
def links(draw: st.DrawFn) -> Links:
    sizes = draw(st.lists(st.integers(1, 12), min_size=1, max_size=4))
    found: Links = []
    for position, size in enumerate(sizes):
        anything = [(s, n) for s in range(position) for n in range(sizes[s])]
        one = st.lists(st.sampled_from(anything), max_size=4, unique=True) if anything else st.just([])
        found.append([draw(one) for _ in range(size)])
    return found


@given(links(), st.integers(0, 99), st.floats(0, 0.5), st.integers(1, 3))
@example([[[]] * 7, [[]] * 2, [[], [(0, 4), (0, 5)], [(0, 0)]], [[]] * 6], 3, 0.5, 1)
def test_any_order_of_completion_settles_every_task_after_what_it_needs(wanted, seed, share_failing, lookahead):
    stages = [stage(position, tasks) for position, tasks in enumerate(wanted)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ready_tasks, "LOOKAHEAD", lookahead)
        done, failed = settle_all(begun(stages), wanted, random.Random(seed), share_failing)
    for position, tasks in enumerate(wanted):
        for number, needed in enumerate(tasks):
            task = (position, number)
            assert (task in done or task in failed) == (set(needed) <= done)


def settle_all(ready: Readiness, wanted: Links, draw: random.Random, share_failing: float):
    done: set[tuple[int, int]] = set()
    failed: set[tuple[int, int]] = set()
    flying: list[Task] = []
    while ready.left:
        for position in draw.sample(range(len(wanted)), len(wanted)):
            taken = ready.take(position, draw.randint(1, 3))
            kept = taken[: draw.randint(0, len(taken))]
            ready.put_back(position, taken[len(kept) :])
            for number in kept:
                assert set(wanted[position][number]) <= done, "started before what it needs"
                assert (position, number) not in done | failed | set(flying), "started twice"
                flying.append(Task(position, number))
        if not flying:
            can_start = [ready.ready(position, 1) for position in range(len(wanted))]
            assert any(can_start) or not ready.left, "locked up"  # looking may have settled what was left, as blocked
            continue
        task = flying.pop(draw.randrange(len(flying)))
        if draw.random() < share_failing:
            ready.give_up(task)
            failed.add(task)
        else:
            ready.finish(task)
            done.add(task)
    assert not flying
    for position, tasks in enumerate(wanted):
        assert ready.unsettled(position) == 0
        counts = [ready.done(position), ready.failed(position), ready.blocked(position)]
        assert sum(counts) == len(tasks)
        assert counts[:2] == [sum(s == position for s, _ in settled) for settled in (done, failed)]
    return done, failed


def test_neighbours_are_handed_out_together_whatever_order_they_became_ready_in():
    ready = begun([stage(0, [[] for _ in range(4)]), stage(1, [[(0, n)] for n in range(4)])])
    assert ready.take(1, 4) == []
    for number in (3, 1, 0, 2):
        ready.finish(Task(0, number))
    assert ready.take(1, 3) == [0, 1, 2]


def test_a_need_for_a_whole_stage_is_met_when_all_of_it_is_done_and_never_once_some_of_it_is_given_up():
    def stages() -> list[Stage]:
        whole = Stage("1", "fake", 1, TaskConfig(), (1, 1, 1), {"0": Whole((1, 1, 3))})
        assert list(whole.depends((0, 0, 0))) == [("0", (0, 0, n)) for n in range(3)]
        return [stage(0, [[] for _ in range(3)]), whole]

    ready = begun(stages())
    for number in (2, 0, 1):
        assert ready.ready(1, 1) == 0
        ready.finish(Task(0, number))
    assert ready.take(1, 1) == [0]
    for watching in (True, False):
        ready = begun(stages(), [True, True, False])
        assert not watching or ready.ready(1, 1) == 0
        ready.give_up(Task(0, 2))
        assert ready.ready(1, 1) == 0
        assert (ready.blocked(1), ready.left) == (1, 0)


def test_each_need_is_looked_at_once_however_often_its_task_waits():
    looked = []

    def everything(index: Triple):
        for number in range(50):
            looked.append(number)
            yield 0, 0, number

    patient = Stage("1", "fake", 1, TaskConfig(), (1, 1, 1), {"0": everything})
    ready = begun([stage(0, [[] for _ in range(50)]), patient])
    for number in range(50):
        assert ready.ready(1, 1) == 0
        ready.finish(Task(0, number))
    assert ready.take(1, 1) == [0]
    assert looked == list(range(50))


def test_what_was_done_before_is_not_taken_again():
    ready = begun([stage(0, [[] for _ in range(4)])], [True, True, False, True])
    assert ready.take(0, 4) == [2]
    assert ready.take(0, 4) == []


def test_a_million_done_tasks_are_not_examined():
    def nothing(index: Triple):
        raise AssertionError("a done task was examined")

    million = Stage("0", "fake", 1, TaskConfig(), (100, 100, 100), {"0": nothing})
    ready = begun([million], np.ones(10**6, dtype=bool))
    assert (ready.take(0, 1), ready.done(0), ready.left) == ([], 10**6, 0)


@given(st.lists(st.booleans(), min_size=1, max_size=70), st.sets(st.integers(0, 69)), st.integers(1, 3))
def test_a_bitmap_is_a_set_of_places(bits, more, scan):
    bitmap, expected = Bitmap(np.array(bits)), {place for place, bit in enumerate(bits) if bit}
    for place in more & set(range(len(bits))):
        bitmap.set(place)
        expected.add(place)
    assert {place for place in range(len(bits)) if bitmap[place]} == expected
    assert bitmap.count == len(expected)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("petavox.workflows.execution.bitmap._SCAN", scan)
        for start in range(len(bits) + 1):
            clear = (place for place in range(start, len(bits)) if place not in expected)
            assert bitmap.next_clear(start) == next(clear, len(bits))
