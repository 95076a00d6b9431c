"""What changes around a run: the clock, its directory, and who else is at work there."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from pathlib import Path

from .case import Case, Fault, UnavailableError
from .driver import Driver, books

DAY = 86_400
JUMPS = (DAY, -2 * 3600, -400 * DAY, 0)  # seconds that the wall clock is ahead


def clock_jumps(case: Case) -> None:
    """The wall clock of driver and workers is set forward and back; what counts seconds goes on as it must."""
    ahead = case.folder / "ahead"
    _set(ahead, 0)
    driver = case.start(environment={"LD_PRELOAD": str(_wall_clock(case.folder)), "WALL_CLOCK_AHEAD": str(ahead)})
    for jump in JUMPS:
        if case.under_way(driver, more=case.random.randint(5, 30)):
            case.pause(0.0, 1.0)
            _set(ahead, jump)
            case.injected += 1
    case.complete(driver)
    case.expect(case.injected == len(JUMPS), f"the run ended after {case.injected} jumps")
    case.expect(not case.repeated, f"{case.repeated} attempts were repeated")


def _wall_clock(folder: Path) -> Path:
    """The compiled library that moves the clock of those who load it."""
    compiler, library = shutil.which("cc"), folder / "wall_clock.so"
    if compiler is None:
        raise UnavailableError("moving the clock of some processes needs a C compiler, cc")
    source = Path(__file__).with_name("wall_clock.c")
    subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", str(library), str(source)], check=True)
    return library


def _set(ahead: Path, seconds: int) -> None:
    """At once: there is no moment at which the file is empty."""
    scratch = ahead.with_suffix(".new")
    scratch.write_text(f"{seconds}\n", encoding="ascii")
    scratch.replace(ahead)


def two_drivers(case: Case) -> None:
    """A second driver comes: while the first works, while it sleeps; and two at the same moment."""
    twins = [case.start(), case.start()]
    case.injected += 1
    first = _settle(case, twins)
    for asleep in (False, True):
        case.well_under_way(first)
        if asleep:
            os.kill(first.pid, signal.SIGSTOP)
        case.refused(case.start(), "Only one driver", str(first.pid))
        case.injected += 1
        os.kill(first.pid, signal.SIGCONT)
    case.complete(first)
    case.expect(not case.repeated, f"{case.repeated} attempts were repeated")


def _settle(case: Case, twins: list[Driver]) -> Driver:
    """Of two drivers that started together one is refused; the other one."""
    twins[0].until(lambda: not all(twin.running for twin in twins))
    winner = twins[0] if twins[0].running else twins[1]
    loser = twins[1] if winner is twins[0] else twins[0]
    case.refused(loser, "Only one driver")
    return winner


def moved(case: Case) -> None:
    """The run directory gets another name, once after a kill of the driver and once under it."""
    driver = case.start()
    case.well_under_way(driver, more=case.random.randint(5, 60))
    driver.kill()
    case.nothing_left_of(driver)
    case.run = case.run.rename(case.folder / "moved")
    before = books(case.run)
    case.injected += 1

    driver = case.start()
    case.well_under_way(driver, more=case.random.randint(5, 60))
    old, case.run = case.run, case.run.rename(case.folder / "moved-again")
    case.injected += 1
    status = driver.wait()
    case.expect(
        status in (1, 2) and "Traceback (most" not in driver.said, f"exit status {status}: {driver.said[-300:]}"
    )
    case.expect("moved" in driver.said, f"its message does not say that the directory was moved: {driver.said[-300:]}")
    case.expect(not (old / "ledger.sqlite").exists(), "a new ledger was begun in the old place")
    case.nothing_left_of(driver)
    case.compare(before)
    before = books(case.run)
    case.output = case.run / "segmentation.zarr"
    case.complete()
    case.compare(before)


FAULTS = (
    Fault(
        "clock-jumps",
        "the clock jumps a day forward, two hours back, 400 days back, and to the right time",
        "harmless: the run completes, no attempt is repeated",
        clock_jumps,
    ),
    Fault(
        "two-drivers",
        "two drivers at the same moment; one more while the first works; one more while the first is stopped",
        "the others are refused, exit 2; the first completes",
        two_drivers,
    ),
    Fault(
        "directory-moved",
        "the run directory is moved after a kill of the driver, and under a running one",
        "that driver stops with a message; in the new place `petavox run` completes, nothing done is redone",
        moved,
    ),
)
