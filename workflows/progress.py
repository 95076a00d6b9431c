"""Shows what a run is doing: bars on a terminal, plain lines elsewhere; always on standard error."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from typing import Protocol

Stages = Sequence[tuple[str, int, int]]  # name, tasks, of which done


class Progress(Protocol):
    """Receives the progress of a run."""

    def begin(self, stages: Stages) -> None: ...

    def advance(self, stage: str, count: int = 1, *, failed: bool = False) -> None:
        """Notes that so many more tasks of a stage are done, or set aside."""

    def note(self, text: str) -> None:
        """Notes something that is worth a line."""

    def close(self) -> None: ...


def on_standard_error() -> Progress:
    """Chooses bars if standard error is a terminal, else lines."""
    return Bars() if sys.stderr.isatty() else Lines()


class Lines:
    """Prints a line when a stage begins to move, every so often meanwhile, and when it ends.

    Args:
        interval: seconds between two lines of one stage.
    """

    def __init__(self, interval: float = 10.0) -> None:
        self._interval = interval
        self._total: dict[str, int] = {}
        self._done: dict[str, int] = {}
        self._failed: dict[str, int] = {}
        self._spoken: dict[str, float] = {}

    def begin(self, stages: Stages) -> None:
        self._total = {name: tasks for name, tasks, _ in stages}
        self._done = {name: done for name, _, done in stages}
        for name, tasks, done in stages:
            if done:
                self.note(f"{name}: {done} of {tasks} done, kept")

    def advance(self, stage: str, count: int = 1, *, failed: bool = False) -> None:
        counter = self._failed if failed else self._done
        counter[stage] = counter.get(stage, 0) + count
        settled = self._done[stage] + self._failed.get(stage, 0)
        now = time.monotonic()
        if settled == self._total[stage] or now - self._spoken.get(stage, 0.0) >= self._interval:
            self._spoken[stage] = now
            trouble = f", {self._failed[stage]} failed" if stage in self._failed else ""
            self.note(f"{stage}: {self._done[stage]} of {self._total[stage]}{trouble}")

    def note(self, text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    def close(self) -> None:
        return


class Bars:
    """Shows one bar for each stage, with the time that is left at the present rate."""

    def __init__(self) -> None:
        from rich import progress
        from rich.console import Console

        self._console = Console(stderr=True)
        self._progress = progress.Progress(
            progress.TextColumn("{task.description:14}"),
            progress.BarColumn(),
            progress.MofNCompleteColumn(),
            progress.TextColumn("[red]{task.fields[trouble]}"),
            progress.TimeElapsedColumn(),
            progress.TimeRemainingColumn(),
            console=self._console,
        )
        self._bars: dict[str, progress.TaskID] = {}
        self._failed: dict[str, int] = {}

    def begin(self, stages: Stages) -> None:
        for name, tasks, done in stages:
            if done:
                self.note(f"{name}: {done} of {tasks} done, kept")
            self._bars[name] = self._progress.add_task(name, total=tasks, completed=done, start=False, trouble="")
        self._progress.start()

    def advance(self, stage: str, count: int = 1, *, failed: bool = False) -> None:
        bar = self._bars[stage]
        self._progress.start_task(bar)
        if failed:
            self._failed[stage] = self._failed.get(stage, 0) + count
            self._progress.update(bar, trouble=f"{self._failed[stage]} failed")
        else:
            self._progress.advance(bar, count)

    def note(self, text: str) -> None:
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)

    def close(self) -> None:
        self._progress.stop()
