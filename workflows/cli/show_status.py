"""Prints the status of a run: a table for people, plain values for `--json`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ...cluster.quantities import duration, in_bytes
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
    table = number_table(*columns, "tasks/s", "time left", "memory", unbroken=len(columns) + 3)
    for stage in found.status.stages:
        counts = (stage.tasks, stage.done, stage.running, *((stage.failed, stage.aside) if troubled else ()))
        rate = "" if stage.rate is None else f"{stage.rate:.3g}"
        left = _left(found.status, stage) if found.driver else ""
        table.add_row(stage.name, *(f"{count:,}" for count in counts), rate, left, in_bytes(stage.peak_memory))
    failures = list(found.failures())
    compared = [f"With {found.recipe}:", *(f"  {line}" for line in found.changes)] if found.recipe else []
    more: list[RenderableType] = [line for block in (failures, compared) if block for line in ("", *block)]
    return Group(found.in_words(), "", table, *more)


def status_json(found: RunStatus) -> dict[str, Any]:
    """Returns the status of a run as plain values; seconds and bytes."""
    status = found.status
    return {
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
