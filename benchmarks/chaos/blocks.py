"""Blocks that never work: each is tried again, then set aside, and everything that does not need it is done."""

from __future__ import annotations

import os
import subprocess
from functools import partial
from pathlib import Path

from petavox.pipeline.geometry import BlockGrid

from .case import Case, Fault
from .driver import books
from .job import BLOCK, SHAPE, command

TASKS = ("supervoxels", "faces", "relabel")
LIMIT = 20  # seconds for a task in these runs


def _misbehave(trouble: str, attempts: int, words: tuple[str, ...], case: Case) -> None:
    task, grid = case.random.choice(TASKS), BlockGrid(SHAPE, BLOCK)
    number = case.random.randrange(len(grid))
    index = grid.unravel(number)
    with case.recipe.open("a", encoding="utf-8") as recipe:
        recipe.write(f'[limits]\ntask = "{LIMIT}s"\n')
    path = os.pathsep.join([str(Path(__file__).parents[2]), *filter(None, [os.environ.get("PYTHONPATH")])])
    driver = case.start(
        *(trouble, task, ",".join(map(str, index)), "run", str(case.recipe), "--run", str(case.run)),
        module="benchmarks.chaos.misbehaving",
        environment={"PYTHONPATH": path},
    )
    case.injected += 1
    case.refused(driver, "1 tasks failed", f"{task} {index}", "log.txt", status=1)
    case.nothing_left_of(driver)
    before, log = books(case.run), (case.run / "log.txt").read_text(encoding="utf-8")
    bad = before.pop((task, number), None)
    case.expect(bad and bad.state == "aside" and bad.attempts >= attempts, f"the ledger has {bad}")
    status = subprocess.run(command("status", case.run, "--json"), capture_output=True, text=True).stdout
    for word in words:
        case.expect(word in status, f"`petavox status` does not say '{word}' of the block")
        case.expect(word in log, f"the log does not say '{word}'")
    others = sum(not entry.done for entry in before.values())
    case.expect(not others, f"{others} other tasks failed as well")
    case.notes.append(f"{task} {index}")
    case.complete()
    case.compare(before)


FAULTS = (
    Fault(
        "block-raises",
        "a block that always raises",
        "tried 3 times, set aside with its traceback, the rest completes, exit 1",
        partial(_misbehave, "raise", 3, ("this block is bad", "Traceback", "misbehaving.py")),
    ),
    Fault(
        "block-hoards",
        "a block that always exceeds its memory",
        "its worker is replaced, tried 6 times, set aside with a reason, the rest completes, exit 1",
        partial(_misbehave, "memory", 6, ("memory",)),
    ),
    Fault(
        "block-hangs",
        f"a block that hangs, and holds the interpreter; limits.task = {LIMIT}s",
        "ended by the limit, tried 3 times, set aside with its traceback, the rest completes, exit 1",
        partial(_misbehave, "hang", 3, ("limits.task", "misbehaving.py")),
    ),
)
