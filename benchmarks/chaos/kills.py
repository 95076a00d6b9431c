"""Kill −9 of workers and of drivers, at random moments."""

from __future__ import annotations

import contextlib
import shutil

import psutil

from .case import Case, Fault
from .driver import Driver, books

WORKER_KILLS = 20
KILLS_OF_A_RUN = 10
DRIVER_KILLS = 3


def workers(case: Case) -> None:
    """Runs lose workers until so many were lost with a call, which is one task or several short ones."""
    lost, repeated, runs = 0, 0, 0
    while lost < WORKER_KILLS and runs < WORKER_KILLS:
        shutil.rmtree(case.run, ignore_errors=True)
        driver = case.start()
        killed, runs = 0, runs + 1
        # Something ends between two kills: a machine on which nothing ever ends is another fault.
        while killed < KILLS_OF_A_RUN and case.under_way(driver):
            case.pause(0.0, 3.0)
            killed += _kill_one(case, driver)
        case.complete(driver)
        told = (case.run / "log.txt").read_text(encoding="utf-8").count("its worker died")
        case.expect(0 < told <= case.repeated, f"the log tells of {told} losses, the ledger of {case.repeated}")
        case.injected += killed
        lost += told
        repeated += case.repeated
    case.repeated = repeated
    case.notes.append(f"{runs} runs; {lost} of the kills were in the middle of a call")
    case.expect(lost >= WORKER_KILLS, f"only {lost} of the killed workers were at work")


def _kill_one(case: Case, driver: Driver) -> bool:
    """Kill a worker at random; false where none is there at the moment."""
    workers = driver.workers()
    if workers:
        with contextlib.suppress(psutil.NoSuchProcess):
            case.random.choice(workers).kill()
            return True
    return False


def driver_alone(case: Case) -> None:
    _kill_drivers(case, everything=False)


def everything(case: Case) -> None:
    _kill_drivers(case, everything=True)


def _kill_drivers(case: Case, everything: bool) -> None:
    for _ in range(DRIVER_KILLS):
        driver = case.start()
        if case.under_way(driver, more=case.random.randint(5, 60)):
            case.pause(0.0, 0.5)
        if driver.running:
            driver.kill(everything=everything)
            case.injected += 1
        case.nothing_left_of(driver)
        before = books(case.run)
    case.complete()
    case.compare(before)


FAULTS = (
    Fault(
        "worker-killed",
        "kill −9 of a worker in mid-block, 20 times at random moments",
        "the run completes, bit for bit; attempts in the ledger",
        workers,
    ),
    Fault(
        "driver-killed",
        "kill −9 of the driver, which has the scheduler in it, 3 times",
        "its workers end by themselves; `petavox run` again completes, nothing done is redone",
        driver_alone,
    ),
    Fault(
        "everything-killed",
        "kill −9 of driver, scheduler and workers at the same moment, 3 times",
        "`petavox run` again completes, nothing done is redone",
        everything,
    ),
)
