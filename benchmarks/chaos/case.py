"""One fault: what it needs, how it is injected, and everything that is checked of the run that suffers it."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from .driver import Books, Driver, books, tasks
from .job import Job, command, digest


class UnavailableError(Exception):
    """This machine cannot have the fault; the message says why."""


@dataclass
class Case:
    """A run directory that suffers a fault, and what became of it.

    Args:
        job: what is run.
        folder: for this fault alone; empty.
        random: when and what, from the printed seed.
        injected: how many faults there were.
        repeated: attempts at tasks beyond the first, by the ledger.
        redone: tasks that were done, and were done again.
        lost: tasks that are not done in the end.
        findings: what was expected and did not hold.
        notes: what else is worth telling.
        run, recipe, output: the run directory, the recipe in use, and the segmentation.
    """

    job: Job
    folder: Path
    random: random.Random
    injected: int = 0
    repeated: int = 0
    redone: int = 0
    lost: int = 0
    findings: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    run: Path = field(init=False)
    recipe: Path = field(init=False)
    output: Path = field(init=False)
    _drivers: list[Driver] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.run = self.folder / "run"
        self.recipe = self.job.recipe(self.folder)
        self.output = self.run / "segmentation.zarr"

    def expect(self, held: object, what: str) -> None:
        """Note what was expected where it did not hold."""
        if not held:
            self.findings.append(what)

    def start(
        self,
        *words: str,
        module: str = "petavox.workflows.cli",
        environment: Mapping[str, str] | None = None,
        within: Sequence[str] = (),
    ) -> Driver:
        """`petavox run` of the job in the run directory, or other words; see `Driver`."""
        chosen = words or ("run", str(self.recipe), "--run", str(self.run))
        said = self.folder / f"said-{len(self._drivers)}.txt"
        driver = Driver(command(*chosen, module=module), said, environment or {}, within)
        self._drivers.append(driver)
        return driver

    def close(self) -> None:
        """End whatever still runs, however this comes."""
        for driver in self._drivers:
            driver.kill(everything=True)

    def pause(self, shortest: float, longest: float) -> None:
        """Some seconds at random."""
        time.sleep(self.random.uniform(shortest, longest))

    def under_way(self, driver: Driver, more: int = 1) -> bool:
        """Wait until some more tasks are done than were; false where the driver ended first."""
        before = self.done
        return driver.until(lambda: self.done >= before + more)

    def well_under_way(self, driver: Driver, more: int = 1) -> None:
        """The same.

        Raises:
            RuntimeError: the driver ended first.
        """
        if not self.under_way(driver, more):
            raise RuntimeError(f"the run ended before anything was done to it; it said: {_tail(driver.said)}")

    @property
    def done(self) -> int:
        return sum(entry.done for entry in books(self.run).values())

    def nothing_left_of(self, driver: Driver) -> None:
        """No process of an ended driver may stay."""
        left = driver.orphans()
        self.expect(not left, f"{len(left)} processes were left after 60 s")

    def compare(self, before: Books) -> None:
        """What was done before and has been done again since is counted, and expected not to be."""
        after = books(self.run)
        again = [task for task, entry in before.items() if entry.done and after.get(task) != entry]
        self.redone += len(again)
        self.expect(not again, f"{len(again)} tasks that were done were done again, such as {again[:1]}")

    def refused(self, driver: Driver, *words: str, status: int = 2) -> None:
        """The command ends with a message of one screen that has these words, and with this exit status."""
        found, said = driver.wait(), driver.said
        self.expect(found == status, f"exit status {found} instead of {status}; it said: {_tail(said)}")
        for word in words:
            self.expect(word.lower() in said.lower(), f"its message does not say '{word}': {_tail(said)}")
        self.expect("Traceback (most" not in said and "This is a bug" not in said, f"no clear message: {_tail(said)}")

    def complete(self, driver: Driver | None = None) -> None:
        """The run, continued unless a driver is given, completes: exit status 0, everything done, bit for bit."""
        driver = driver or self.start()
        status = driver.wait()
        self.expect(status == 0, f"exit status {status} instead of 0; it said: {_tail(driver.said)}")
        self.nothing_left_of(driver)
        self.tally()
        self.compare_output()

    def compare_output(self) -> None:
        """The segmentation is, bit for bit, that of the serial run."""
        same = self.output.exists() and digest(self.output) == self.job.reference
        self.expect(same, "the segmentation differs from that of the serial run")

    def tally(self) -> None:
        """Count attempts and what is not done."""
        entries = books(self.run)
        self.repeated = sum(entry.attempts - 1 for entry in entries.values())
        self.lost = tasks(self.run) - sum(entry.done for entry in entries.values())
        self.expect(entries and not self.lost, f"{self.lost} tasks are not done")


@dataclass(frozen=True)
class Fault:
    """A row of the table.

    Args:
        name: one word, for the command line.
        fault: what happens.
        expected: what petavox makes of it.
        inject: does it to a case; raises `UnavailableError` where it cannot.
    """

    name: str
    fault: str
    expected: str
    inject: Callable[[Case], None]


def _tail(said: str) -> str:
    lines = said.strip().splitlines()
    return " / ".join(lines[-3:])[-400:]
