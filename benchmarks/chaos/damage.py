"""Files of a run that are damaged behind its back: chunks, tables, the ledger; `petavox audit --repair` mends them."""

from __future__ import annotations

import contextlib
import functools
import random
import shutil
import sqlite3
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

from petavox.pipeline import tables
from petavox.pipeline.errors import TableError
from petavox.pipeline.geometry import BlockGrid

from .case import Case, Fault, UnavailableError
from .driver import books
from .job import BLOCK, SHAPE

Harm = Callable[[Path, random.Random], None]

CHUNKS, TABLES, RESULT = "supervoxels.zarr/0/c", "tables/agglomerate-0", "segmentation.zarr/0/c"
WRITERS = {CHUNKS: "supervoxels", TABLES: "agglomerate-0", RESULT: "relabel"}


def truncate(path: Path, chance: random.Random) -> None:
    with path.open("r+b") as file:
        file.truncate(chance.randrange(path.stat().st_size))


def flip(path: Path, chance: random.Random) -> None:
    """One bit, anywhere."""
    content = bytearray(path.read_bytes())
    content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
    path.write_bytes(content)


def flip_in_table(path: Path, chance: random.Random) -> None:
    """One bit that matters: half of a small table is a footer of which hardly anything is ever read."""
    good, content = tables.read(path), path.read_bytes()
    while _reads_as(good, path):
        path.write_bytes(content)
        flip(path, chance)


def _reads_as(good: tables.Arrays, path: Path) -> bool:
    try:
        found = tables.read(path)
    except TableError:
        return False
    return found.keys() == good.keys() and all(np.array_equal(found[name], good[name]) for name in good)


def remove(path: Path, chance: random.Random) -> None:
    path.unlink()


def interrupted(case: Case) -> None:
    """Give a case the copy of a run that was killed in the middle, before any block was relabelled."""
    shutil.copytree(_interrupted(case.folder.parent / "interrupted", case), case.run, symlinks=True)


@functools.cache
def _made() -> set[Path]:
    return set()


def _interrupted(folder: Path, case: Case) -> Path:
    if folder not in _made():
        shutil.rmtree(folder, ignore_errors=True)
        driver = case.start()
        driver.until(lambda: ("agglomerate-1", 0) in books(case.run))
        driver.kill()
        case.nothing_left_of(driver)
        case.run.rename(folder)
        _made().add(folder)
    return folder


def _in_the_middle(harm: Harm, where: str, case: Case) -> None:
    """Damage what later stages read, continue, and mend."""
    interrupted(case)
    victim = _harm(case, harm, where)
    driver = case.start()
    status = driver.wait()
    case.nothing_left_of(driver)
    if status == 0:
        case.compare_output()  # before anything is mended: what is damaged must not have been taken for data
    else:
        told = driver.said.lower() + (case.run / "log.txt").read_text(encoding="utf-8").lower()
        case.expect(status in (1, 2) and "this is a bug" not in told, f"exit status {status}: {driver.said[-300:]}")
        # Of a volume the message names the box, since the user knows no chunks.
        case.expect(victim.name in told or "supervoxels.zarr" in told, f"nobody is told where: {driver.said[-300:]}")
    _mend(case)


def _in_the_end(harm: Harm, where: str, case: Case) -> None:
    """Damage the result of a finished run, and mend."""
    case.complete()
    _harm(case, harm, where)
    _mend(case)


def _harm(case: Case, harm: Harm, where: str) -> Path:
    grid, entries = BlockGrid(SHAPE, BLOCK), books(case.run)
    # What a task left that was cut short is written anew anyway.
    done = [grid.unravel(n) for n in range(len(grid)) if (entry := entries.get((WRITERS[where], n))) and entry.done]
    z, y, x = case.random.choice(done)
    (victim,) = (case.run / where / str(z) / str(y)).glob(f"{x}*")
    harm(victim, case.random)
    case.injected += 1
    case.notes.append(str(victim.relative_to(case.run)))
    return victim


def _mend(case: Case) -> None:
    """`petavox audit` finds it, `--repair` mends it, and the run completes."""
    found = case.start("audit", str(case.run))
    status = found.wait()
    if "No such command" in found.said:
        raise UnavailableError("there is no `petavox audit`")
    case.expect(status == 1, f"exit status {status} of `petavox audit`: {found.said[-300:]}")
    mending = case.start("audit", str(case.run), "--repair")
    status = mending.wait()
    case.expect(status == 0, f"exit status {status} of `petavox audit --repair`: {mending.said[-300:]}")
    before = books(case.run)
    case.complete()
    case.compare(before)
    again = case.start("audit", str(case.run)).wait()
    case.expect(again == 0, f"exit status {again} of `petavox audit` in the end")


def ledger_away(case: Case) -> None:
    """The ledger is copied away; then an old copy comes back, then the right one."""
    driver = case.start()
    case.well_under_way(driver)
    driver.kill()
    case.nothing_left_of(driver)
    old = _take_away(case)
    _put_back(case, old)
    driver = case.start()
    case.well_under_way(driver, more=case.random.randint(20, 60))
    driver.kill()
    case.nothing_left_of(driver)
    kept = _take_away(case)
    case.refused(case.start(), "ledger")
    case.injected += 1
    _put_back(case, old)
    before = books(case.run)
    case.injected += 1
    case.complete()
    case.compare(before)
    case.notes.append(f"the old copy knew {sum(entry.done for entry in before.values())} of the tasks that were done")
    shutil.rmtree(kept)


def _ledger(case: Case) -> list[Path]:
    """The file, and what SQLite keeps beside it."""
    return sorted(case.run.glob("ledger.sqlite*"))


def _take_away(case: Case) -> Path:
    folder = case.folder / f"ledger-{case.random.random()}"
    folder.mkdir()
    for path in _ledger(case):
        path.rename(folder / path.name)
    return folder


def _put_back(case: Case, folder: Path) -> None:
    for path in _ledger(case):
        path.unlink()
    for path in folder.iterdir():
        shutil.copy2(path, case.run / path.name)


def ledger_truncated(case: Case) -> None:
    """Half of the ledger's file is gone: the run refuses it, and `audit --repair` makes another."""
    interrupted(case)
    path = case.run / "ledger.sqlite"
    with contextlib.closing(sqlite3.connect(path)) as ledger:
        ledger.execute("PRAGMA wal_checkpoint(TRUNCATE)")  # or SQLite mends the file from the one beside it
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size // 2)
    case.injected += 1
    case.refused(case.start(), "ledger")
    mending = case.start("audit", str(case.run), "--repair")
    status = mending.wait()
    if "No such command" in mending.said:
        raise UnavailableError("there is no `petavox audit`")
    case.expect(status == 0, f"exit status {status} of `petavox audit --repair`: {mending.said[-300:]}")
    case.complete()


def _fault(name: str, what: str, harm: Harm, where: str) -> Fault:
    expected = "a clear error or no harm; `audit` finds it, `audit --repair` mends it, the run completes"
    return Fault(name, what, expected, partial(_in_the_middle, harm, where))


FAULTS = (
    _fault("chunk-truncated", "a chunk of the supervoxels is truncated", truncate, CHUNKS),
    _fault("chunk-flipped", "a bit of a chunk of the supervoxels is flipped", flip, CHUNKS),
    _fault("chunk-removed", "a chunk of the supervoxels disappears", remove, CHUNKS),
    _fault("table-truncated", "a table of an octree node is truncated", truncate, TABLES),
    _fault("table-flipped", "a bit of a table of an octree node is flipped", flip_in_table, TABLES),
    Fault(
        "result-flipped",
        "a bit of the segmentation of a finished run is flipped",
        "`audit` finds it, `audit --repair` mends it",
        partial(_in_the_end, flip, RESULT),
    ),
    Fault(
        "ledger-away",
        "the ledger is copied away, and an old copy put back",
        "without it the run is refused, exit 2; with the old one it completes",
        ledger_away,
    ),
    Fault(
        "ledger-truncated",
        "the ledger is truncated",
        "the run is refused, exit 2; `audit --repair` mends it, the run completes",
        ledger_truncated,
    ),
)
