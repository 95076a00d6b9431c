"""Shows what a run is doing: below a notebook's cell, as bars on a terminal, as plain lines elsewhere."""

from __future__ import annotations

import html
import sys
import time
from collections.abc import Iterator, Sequence
from typing import Any, Protocol

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


def suitable(shown: bool = True) -> Progress:
    """Chooses lines below the cell in a notebook, else what `on_standard_error` does; nothing where it is not shown."""
    if not shown:
        return Nothing()
    return Cell() if in_notebook() else on_standard_error()


def in_notebook() -> bool:
    """Tells whether this process is the kernel of a notebook."""
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    return getattr(shell, "kernel", None) is not None


class Nothing:
    """Shows nothing."""

    def begin(self, stages: Stages) -> None:
        return

    def advance(self, stage: str, count: int = 1, *, failed: bool = False) -> None:
        return

    def note(self, text: str) -> None:
        return

    def close(self) -> None:
        return


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


class Cell:
    """Shows a line for each stage below a notebook's cell, and what is worth a line; they change in place.

    Args:
        interval: seconds between two changes, at least.
    """

    def __init__(self, interval: float = 0.25) -> None:
        self._interval = interval
        self._stages: dict[str, tuple[int, int, int]] = {}  # tasks, done, failed
        self._notes: list[str] = []
        self._began = self._drawn = time.monotonic()
        self._seconds: float | None = None
        self._display: Any = None

    def begin(self, stages: Stages) -> None:
        self._stages = {name: (tasks, done, 0) for name, tasks, done in stages}
        self._began, self._seconds = time.monotonic(), None
        self._draw()

    def advance(self, stage: str, count: int = 1, *, failed: bool = False) -> None:
        tasks, done, aside = self._stages[stage]
        self._stages[stage] = (tasks, done, aside + count) if failed else (tasks, done + count, aside)
        if time.monotonic() - self._drawn >= self._interval:
            self._draw()

    def note(self, text: str) -> None:
        self._notes.append(text)
        self._draw()

    def close(self) -> None:
        self._seconds = time.monotonic() - self._began
        self._draw()

    def _draw(self) -> None:
        from IPython.display import display

        self._drawn = time.monotonic()
        shown = {"text/plain": self._text(), "text/html": self._html()}
        if self._display is None:
            self._display = display(shown, raw=True, display_id=True)
        else:
            self._display.update(shown, raw=True)

    def _lines(self) -> Iterator[tuple[str, int, int, str]]:
        """Yields name, done, tasks and what else there is to say of each stage."""
        for name, (tasks, done, failed) in self._stages.items():
            yield name, done, tasks, f", {failed} failed" if failed else ""

    def _ends(self) -> list[str]:
        took = [] if self._seconds is None or not self._stages else [f"{self._seconds:.1f} s"]
        return [*self._notes, *took]

    def _text(self) -> str:
        return "\n".join([*(f"{n}: {done} of {tasks}{more}" for n, done, tasks, more in self._lines()), *self._ends()])

    def _html(self) -> str:
        rows = "".join(
            f"<tr><td>{html.escape(name)}</td><td><progress value={done} max={tasks}></progress></td>"
            f"<td>{done} of {tasks}{more}</td></tr>"
            for name, done, tasks, more in self._lines()
        )
        return f"<table>{rows}</table><div>{'<br>'.join(map(html.escape, self._ends()))}</div>"
