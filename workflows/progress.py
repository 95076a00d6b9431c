"""Shows what a run is doing: below a notebook's cell, as bars on a terminal, as plain lines elsewhere."""

from __future__ import annotations

import html
import sys
import time
from collections.abc import Iterator, Mapping
from typing import Any, Protocol

from ..cluster.quantities import duration
from .time_left import UNKNOWN, Outlook, Stages, TimeLeft


class Progress(Protocol):
    """Receives the progress of a run."""

    def begin(self, stages: Stages, outlook: Outlook = ...) -> None: ...

    def advance(self, stage: str, count: int = 1, *, failed: bool = False) -> None:
        """Notes that so many more tasks of a stage are done, or set aside."""

    def working(self, parts: Mapping[str, float]) -> None:
        """Notes how much of the tasks under way is done: by stage, the sum of their shares."""

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


def _count(done: float) -> str:
    """Tasks that are done, a share of the next one with one decimal."""
    return f"{done:,.0f}" if done == int(done) else f"{int(done * 10) / 10:,.1f}"


def _left(seconds: float | None) -> str:
    return "" if seconds is None or seconds < 1 else f"about {duration(seconds)} left"


class Nothing:
    """Shows nothing."""

    def begin(self, stages: Stages, outlook: Outlook = UNKNOWN) -> None:
        return

    def advance(self, stage: str, count: int = 1, *, failed: bool = False) -> None:
        return

    def working(self, parts: Mapping[str, float]) -> None:
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
        self._settled: dict[str, int] = {}
        self._failed: dict[str, int] = {}
        self._spoken: dict[str, float] = {}
        self._time = TimeLeft((), UNKNOWN)

    def begin(self, stages: Stages, outlook: Outlook = UNKNOWN) -> None:
        self._time = TimeLeft(stages, outlook)
        self._total = {name: tasks for name, tasks, _ in stages}
        self._settled = {name: done for name, _, done in stages}
        for name, tasks, done in stages:
            if done:
                self.note(f"{name}: {done} of {tasks} done, kept")

    def advance(self, stage: str, count: int = 1, *, failed: bool = False) -> None:
        self._time.advance(stage, count)
        self._settled[stage] += count
        if failed:
            self._failed[stage] = self._failed.get(stage, 0) + count
        if self._settled[stage] == self._total[stage] or self._is_due(stage):
            self._say(stage)

    def working(self, parts: Mapping[str, float]) -> None:
        self._time.working(parts)
        for stage in parts:
            if self._is_due(stage):
                self._say(stage)

    def note(self, text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    def close(self) -> None:
        return

    def _is_due(self, stage: str) -> bool:
        return time.monotonic() - self._spoken.get(stage, -self._interval) >= self._interval

    def _say(self, stage: str) -> None:
        self._spoken[stage] = time.monotonic()
        failed = self._failed.get(stage, 0)
        done = f"{stage}: {_count(self._time.done(stage) - failed)} of {self._total[stage]:,}"
        times = (f"{failed} failed" if failed else "", duration(self._time.elapsed), _left(self._time.seconds()))
        self.note(", ".join([done, *filter(None, times)]))


class Bars:
    """Shows one bar for each stage, and what is left of the whole run by the plan and by what has been done."""

    def __init__(self) -> None:
        from rich import progress
        from rich.console import Console

        self._console = Console(stderr=True)
        self._progress = progress.Progress(
            progress.TextColumn("{task.description:14}"),
            progress.BarColumn(),
            progress.TextColumn("{task.fields[counted]}"),
            progress.TextColumn("[red]{task.fields[trouble]}"),
            progress.TextColumn("{task.fields[said]}"),
            console=self._console,
        )
        self._bars: dict[str, progress.TaskID] = {}
        self._total: dict[str, int] = {}
        self._failed: dict[str, int] = {}
        self._time = TimeLeft((), UNKNOWN)

    def begin(self, stages: Stages, outlook: Outlook = UNKNOWN) -> None:
        self._time = TimeLeft(stages, outlook)
        self._total = {name: tasks for name, tasks, _ in stages}
        for name, tasks, done in stages:
            if done:
                self.note(f"{name}: {done} of {tasks} done, kept")
            self._bars[name] = self._progress.add_task(name, total=tasks, counted="", trouble="", said="")
        self._bars[""] = self._progress.add_task("in all", total=1.0, counted="", trouble="", said="")
        self._show()
        self._progress.start()

    def advance(self, stage: str, count: int = 1, *, failed: bool = False) -> None:
        self._time.advance(stage, count)
        if failed:
            self._failed[stage] = self._failed.get(stage, 0) + count
            self._progress.update(self._bars[stage], trouble=f"{self._failed[stage]} failed")
        self._show()

    def working(self, parts: Mapping[str, float]) -> None:
        self._time.working(parts)
        self._show()

    def note(self, text: str) -> None:
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)

    def close(self) -> None:
        self._progress.stop()

    def _show(self) -> None:
        for name, tasks in self._total.items():
            done, waits = self._time.done(name) - self._failed.get(name, 0), self._time.waits_for(name)
            counted, said = f"{_count(done)} of {tasks:,}", "" if waits is None else f"waits for {waits}"
            self._progress.update(self._bars[name], completed=done, counted=counted, said=said)
        elapsed, left = self._time.elapsed, self._time.seconds()
        share = 0.0 if left is None else elapsed / (elapsed + left) if elapsed + left else 1.0
        said = ", ".join(filter(None, (duration(elapsed), _left(left))))
        self._progress.update(self._bars[""], completed=share, said=said)


class Cell:
    """Shows a line for each stage below a notebook's cell, and what is worth a line; they change in place.

    Args:
        interval: seconds between two changes, at least.
    """

    def __init__(self, interval: float = 0.25) -> None:
        self._interval = interval
        self._total: dict[str, int] = {}
        self._failed: dict[str, int] = {}
        self._notes: list[str] = []
        self._drawn = time.monotonic()
        self._time = TimeLeft((), UNKNOWN)
        self._seconds: float | None = None
        self._display: Any = None

    def begin(self, stages: Stages, outlook: Outlook = UNKNOWN) -> None:
        self._time, self._seconds = TimeLeft(stages, outlook), None
        self._total = {name: tasks for name, tasks, _ in stages}
        self._draw()

    def advance(self, stage: str, count: int = 1, *, failed: bool = False) -> None:
        self._time.advance(stage, count)
        if failed:
            self._failed[stage] = self._failed.get(stage, 0) + count
        self._draw_if_due()

    def working(self, parts: Mapping[str, float]) -> None:
        self._time.working(parts)
        self._draw_if_due()

    def note(self, text: str) -> None:
        self._notes.append(text)
        self._draw()

    def close(self) -> None:
        self._seconds = self._time.elapsed
        self._draw()

    def _draw_if_due(self) -> None:
        if time.monotonic() - self._drawn >= self._interval:
            self._draw()

    def _draw(self) -> None:
        from IPython.display import display

        self._drawn = time.monotonic()
        shown = {"text/plain": self._text(), "text/html": self._html()}
        if self._display is None:
            self._display = display(shown, raw=True, display_id=True)
        else:
            self._display.update(shown, raw=True)

    def _lines(self) -> Iterator[tuple[str, float, int, str]]:
        """Yields name, done, tasks and what else there is to say of each stage."""
        for name, tasks in self._total.items():
            failed, waits = self._failed.get(name, 0), self._time.waits_for(name)
            more = f", {failed} failed" if failed else f", waits for {waits}" if waits else ""
            yield name, self._time.done(name) - failed, tasks, more

    def _ends(self) -> list[str]:
        if not self._total:
            return self._notes
        if self._seconds is not None:
            return [*self._notes, f"{self._seconds:.1f} s"]
        return [*self._notes, *filter(None, [_left(self._time.seconds())])]

    def _text(self) -> str:
        lines = (f"{name}: {_count(done)} of {tasks}{more}" for name, done, tasks, more in self._lines())
        return "\n".join([*lines, *self._ends()])

    def _html(self) -> str:
        rows = "".join(
            f"<tr><td>{html.escape(name)}</td><td><progress value={done:g} max={tasks}></progress></td>"
            f"<td>{_count(done)} of {tasks}{html.escape(more)}</td></tr>"
            for name, done, tasks, more in self._lines()
        )
        return f"<table>{rows}</table><div>{'<br>'.join(map(html.escape, self._ends()))}</div>"
