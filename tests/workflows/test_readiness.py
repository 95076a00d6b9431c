"""Tasks start after everything that they need, every one of them is settled, and failures stop only what needs them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from petavox.pipeline.geometry import Triple
from petavox.tasks.contract import TaskConfig
from petavox.workflows import readiness
from petavox.workflows.readiness import BLOCKED, DONE, FAILED, Readiness, Task
from petavox.workflows.stages import Stage

Links = list[list[list[tuple[int, int]]]]  # for each stage and task, the (stage, number) that it needs


def stage(position: int, links: list[list[tuple[int, int]]]) -> Stage:
    earlier = sorted({needed for task in links for needed, _ in task})

    def needs(of: int):
        return lambda index: [(0, 0, number) for needed, number in links[index[2]] if needed == of]

    return Stage(str(position), "fake", 1, TaskConfig(), (1, 1, len(links)), {str(s): needs(s) for s in earlier})


@st.composite
def links(draw: st.DrawFn) -> Links:
    sizes = draw(st.lists(st.integers(1, 12), min_size=1, max_size=4))
    found: Links = []
    for position, size in enumerate(sizes):
        anything = [(s, n) for s in range(position) for n in range(sizes[s])]
        one = st.lists(st.sampled_from(anything), max_size=4, unique=True) if anything else st.just([])
        found.append([draw(one) for _ in range(size)])
    return found


@given(links(), st.randoms(use_true_random=False), st.floats(0, 0.5), st.integers(1, 3))
def test_any_order_of_completion_settles_every_task_after_what_it_needs(wanted, random, share_failing, lookahead):
    stages = [stage(position, tasks) for position, tasks in enumerate(wanted)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(readiness, "LOOKAHEAD", lookahead)
        done, failed = settle_all(Readiness(stages, {}), wanted, random, share_failing)
    for position, tasks in enumerate(wanted):
        for number, needed in enumerate(tasks):
            task = (position, number)
            assert (task in done or task in failed) == (set(needed) <= done)


def settle_all(ready: Readiness, wanted: Links, random, share_failing: float):
    done: set[tuple[int, int]] = set()
    failed: set[tuple[int, int]] = set()
    flying: list[Task] = []
    while True:
        while len(flying) < 3 and (task := ready.take()):
            assert set(wanted[task.stage][task.number]) <= done, "started before what it needs"
            assert task not in done | failed | set(flying), "started twice"
            flying.append(task)
        if not flying:
            break
        task = flying.pop(random.randrange(len(flying)))
        if random.random() < share_failing:
            ready.give_up(task)
            failed.add(task)
        else:
            ready.finish(task)
            done.add(task)
    for position, tasks in enumerate(wanted):
        counts = [ready.count(position, state) for state in (DONE, FAILED, BLOCKED)]
        assert sum(counts) == len(tasks)
        assert counts[:2] == [sum(s == position for s, _ in settled) for settled in (done, failed)]
    return done, failed


def test_later_stages_go_first_so_that_work_drains():
    blocks = [stage(0, [[] for _ in range(4)]), stage(1, [[(0, n)] for n in range(4)])]
    ready = Readiness(blocks, {})
    ready.finish(ready.take())
    assert ready.take() == Task(1, 0)


def test_what_was_done_before_is_not_taken_again():
    done = np.array([True, True, False, True])
    ready = Readiness([stage(0, [[] for _ in range(4)])], {"0": done})
    assert ready.take() == Task(0, 2)
    assert ready.take() is None


def test_a_million_done_tasks_cost_a_byte_each_and_no_walk_over_them():
    def nothing(index: Triple):
        raise AssertionError("a done task was examined")

    million = Stage("0", "fake", 1, TaskConfig(), (100, 100, 100), {"0": nothing})
    ready = Readiness([million], {"0": np.ones(10**6, dtype=bool)})
    assert ready.take() is None
    assert ready.count(0, DONE) == 10**6
