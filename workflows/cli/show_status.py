"""Prints the status of a run: a table for people, plain values for `--json`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from ...cluster.quantities import duration, in_bytes
from ..run_directory.layout import LOG
from ..run_directory.lock import Holder
from ..run_directory.status_file import StageStatus, Status

if TYPE_CHECKING:
    from rich.console import RenderableType

    from ..runs.status import RunStatus


def status_table(found: RunStatus) -> RenderableType:
    """Lays out the status of a run as a table."""
    from rich.console import Group

    from .number_table import number_table

    troubled = any(stage.failed or stage.aside for stage in found.status.stages)
    columns = ("stage", "tasks", "done", "running", *(("failed", "aside") if troubled else ()))
    table = number_table(*columns, "tasks/s", "memory", "time left", unbroken=len(columns) + 2)
    for stage in found.status.stages:
        counts = (stage.tasks, stage.done, stage.running, *((stage.failed, stage.aside) if troubled else ()))
        rate = "" if stage.rate is None else f"{stage.rate:.3g}"
        left = _left(found.status, stage) if found.driver else ""
        table.add_row(stage.name, *(f"{count:,}" for count in counts), rate, in_bytes(stage.peak_memory), left)
    failures = list(_failures(found.status))
    compared = [f"With {found.recipe}:", *(f"  {line}" for line in found.changes)] if found.recipe else []
    more: list[RenderableType] = [line for block in (failures, compared) if block for line in ("", *block)]
    return Group(_in_words(found), "", table, *more)


def _in_words(found: RunStatus) -> str:
    """Who works on the run, and for how long still; or why nobody does, and how to go on."""
    if found.state == "at work":
        return f"{found.directory}: {_at_work(found)}"
    stages, again = found.status.stages, f"`petavox retry {found.directory}` goes on."
    done, tasks = sum(stage.done for stage in stages), sum(stage.tasks for stage in stages)
    if found.state == "finished":
        return f"{found.directory}: finished; drivers were at work for {duration(found.status.seconds)} in all."
    why = {
        "killed": f"The last driver, {found.lost}, was killed or its machine was lost.",
        "stopped": "The last driver was stopped, by Ctrl-C or a signal.",
        "with failures": "The last driver set tasks aside that failed.",
        "ended by an error": f"The last driver ended with an error; {found.directory / LOG} has it.",
    }.get(found.state, "")
    parts = (f"{done:,} of {tasks:,} tasks are done; nobody is at work.", why, again)
    return f"{found.directory}: {' '.join(filter(None, parts))}"


def _at_work(found: RunStatus) -> str:
    status = found.status
    counts = [f"{count} {pool} workers" for pool, count in status.workers.items() if count or pool == "cpu"]
    gpu = "" if status.gpu_share is None else f"; GPU workers were busy {status.gpu_share:.0%} of the time"
    left = f"about {duration(status.time_left)} left" if status.time_left else "time left not known yet"
    return (
        f"{found.driver} has been at work for {duration(status.seconds)} with"
        f" {', '.join(counts) or 'no workers yet'}{gpu}; {left}."
    )


def _failures(status: Status) -> Iterator[str]:
    """A line for each of the first tasks that were set aside."""
    for name, number, tries, why in status.failures:
        yield f"{name} task {number}, tried {tries} times: {why.splitlines()[0] if why else ''}"


def status_json(found: RunStatus) -> dict[str, Any]:
    """Returns the status of a run as plain values; seconds and bytes."""
    status = found.status
    return {
        "state": found.state,
        "driver": None if found.driver is None else _holder(found.driver),
        "lost_driver": None if found.lost is None else _holder(found.lost),
        "seconds": status.seconds,
        "time_left": status.time_left if found.driver else None,
        "workers": status.workers if found.driver else {},
        "gpu_share": status.gpu_share,
        "stages": [
            vars(stage) | {"left": stage.left, "time_left": _time_left(status, stage) if found.driver else None}
            for stage in status.stages
        ],
        "failures": [
            {"stage": stage, "task": number, "attempts": tries, "error": why}
            for stage, number, tries, why in status.failures
        ],
        "recipe": None if found.recipe is None else str(found.recipe),
        "changes": list(found.changes),
    }


def _holder(driver: Holder) -> dict[str, Any]:
    return {"host": driver.host, "process": driver.process, "since": driver.since}


def _time_left(status: Status, stage: StageStatus) -> float | None:
    return stage.time_left(status.workers.get("gpu" if stage.gpu else "cpu", 0))


def _left(status: Status, stage: StageStatus) -> str:
    waits, seconds = status.waits_for(stage), _time_left(status, stage)
    if waits is not None:
        return f"waits for {waits}"
    return duration(seconds) if seconds else ""
