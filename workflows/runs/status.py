"""`petavox status`: how far a run is, who works on it, and what another recipe would compute again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...pipeline.errors import RequestError
from ..planning.plan import in_bytes
from ..run_directory.checks import LEDGER, RECIPE, check_run_directory
from ..run_directory.ledger import Ledger
from ..run_directory.local_disk import is_local
from ..run_directory.lock import Holder, last_driver, living_driver
from ..run_directory.status_file import StageStatus, Status, from_ledger, read_bulletin, recipe_digest

if TYPE_CHECKING:
    from rich.console import RenderableType


@dataclass(frozen=True)
class Look:
    """A run as it was found.

    Args:
        directory: of the run.
        status: of its stages.
        driver: that is at work there, if any.
        lost: the last driver, if it ended without a word.
        recipe: the recipe that was compared, if any.
        changes: what it would compute again, and why.
    """

    directory: Path
    status: Status
    driver: Holder | None
    lost: Holder | None
    recipe: Path | None
    changes: tuple[str, ...]


def look(directory: Path, recipe: Path | None = None, overrides: Sequence[str] = ()) -> Look:
    """How far a run is. Writes nothing; works from every machine that sees the directory.

    Args:
        directory: of the run.
        recipe: to compare with what the run was made with; its own, where that has been edited since, unless given.
        overrides: values laid over that recipe.

    Raises:
        RequestError: it is no run, its driver has not told anything yet, or the recipe is wrong.
    """
    check_run_directory(directory)
    driver = living_driver(directory)
    told = read_bulletin(directory)
    status = told if driver is not None else None
    if status is None or status.driver is None or driver is None or status.driver.token != driver.token:
        status = _from_ledger(directory, driver)
    if recipe is None and (overrides or (told is not None and told.recipe != recipe_digest(directory, RECIPE))):
        recipe = directory / RECIPE
    changes = () if recipe is None else compare(directory, status, recipe, overrides)
    return Look(directory, status, driver, last_driver(directory) if driver is None else None, recipe, changes)


def _from_ledger(directory: Path, driver: Holder | None) -> Status:
    if driver is not None and not is_local(directory):
        raise RequestError(f"The driver of {directory}, {driver}, is just starting. Ask again in some seconds.")
    with Ledger(directory / LEDGER, readonly=True) as ledger:
        return from_ledger(ledger)


def compare(directory: Path, status: Status, recipe: Path, overrides: Sequence[str]) -> tuple[str, ...]:
    """What a recipe would compute again in a run directory, and why, in words.

    Raises:
        RequestError: the recipe is wrong.
    """
    from ..planning.plan import make_plan
    from ..recipes.segmentation_recipe import load
    from ..stages.fingerprint import ingredients
    from .recompute import changes, foundation_changes

    plan = make_plan(load(recipe, overrides), directory)
    refused = foundation_changes(status.foundation, plan.foundation)
    if refused:
        return (f"It would be refused in this directory, which was made with another recipe: {'; '.join(refused)}.",)
    fingerprints = ingredients(plan.stages, plan.directory, plan.identities)
    settled = {stage.name: stage.done for stage in status.stages}
    found = list(changes(status.ingredients, fingerprints, settled))
    redone = sum(
        settled.get(name, 0) for name, (_, made) in fingerprints.items() if status.ingredients.get(name) != made
    )
    kept = sum(settled.get(name, 0) for name in fingerprints) - redone
    return (*found, f"{redone:,} tasks that are done would be done again, {kept:,} kept.")


def status_table(found: Look) -> RenderableType:
    """The same for reading."""
    from rich.console import Group
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))
    columns = (
        "stage",
        "tasks",
        "done",
        "running",
        "failed",
        "aside",
        "left",
        "tasks/s",
        "time left",
        "memory",
    )
    for i, column in enumerate(columns):
        table.add_column(column, justify="left" if i == 0 else "right", no_wrap=True)
    for stage in found.status.stages:
        counts = (stage.tasks, stage.done, stage.running, stage.failed, stage.aside, stage.left)
        rate = "" if stage.rate is None else f"{stage.rate:.3g}"
        left = _duration(_time_left(found.status, stage)) if found.driver else ""
        table.add_row(stage.name, *(f"{count:,}" for count in counts), rate, left, in_bytes(stage.peak_memory))
    failures = [
        f"{name} task {number}, tried {tries} times: {why.splitlines()[0] if why else ''}"
        for name, number, tries, why in found.status.failures
    ]
    compared = [f"With {found.recipe}:", *(f"  {line}" for line in found.changes)] if found.recipe else []
    more: list[RenderableType] = [line for block in (failures, compared) if block for line in ("", *block)]
    return Group(_driver_line(found), "", table, *more)


def _driver_line(found: Look) -> str:
    status = found.status
    if found.driver is None:
        if found.lost is None:
            return f"{found.directory}: no driver is at work."
        return f"{found.directory}: no driver is at work; the last, {found.lost}, ended without a word."
    workers = (
        ", ".join(f"{count} {pool} workers" for pool, count in status.workers.items() if count or pool == "cpu")
        or "no workers yet"
    )
    gpu = "" if status.gpu_share is None else f"; GPU workers were busy {status.gpu_share:.0%} of the time"
    left = _duration(status.time_left)
    return (
        f"{found.directory}: {found.driver} has been at work for {_duration(status.seconds)} with {workers}{gpu};"
        f" {f'about {left} left' if left else 'time left not known yet'}."
    )


def status_json(found: Look) -> dict[str, Any]:
    """The same as plain values; seconds and bytes."""
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


def _duration(seconds: float | None) -> str:
    from ..report.page import duration

    return "" if seconds is None else duration(seconds)
