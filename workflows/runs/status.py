"""The status of a run: how far a run is, who works on it, and what another recipe would compute again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ...pipeline.errors import RequestError
from ..run_directory.checks import check_run_directory
from ..run_directory.layout import CLUSTER, LEDGER, RECIPE, directory_of
from ..run_directory.ledger import Ledger
from ..run_directory.local_disk import is_local
from ..run_directory.lock import Holder, last_driver, living_driver
from ..run_directory.status_file import Status, from_ledger, read_bulletin, recipe_digest

State = Literal["at work", "finished", "killed", "stopped", "with failures", "ended by an error", "not finished"]
INTERRUPTED = 130
"""Exit status of a driver that was stopped by Ctrl-C or SIGTERM."""


@dataclass(frozen=True)
class RunStatus:
    """Holds a run as it was found.

    Args:
        directory: directory of the run.
        status: status of its stages.
        driver: driver that is at work there, if any.
        lost: the last driver, if it ended without a word.
        last_exit: exit status of the last driver, if it told one.
        recipe: the recipe that was compared, if any.
        changes: stages that the recipe would compute again, and why.
    """

    directory: Path
    status: Status
    driver: Holder | None
    lost: Holder | None
    last_exit: int | None
    recipe: Path | None
    changes: tuple[str, ...]

    @property
    def state(self) -> State:
        """Says in a word where the run stands, or how its last driver left it."""
        stages = self.status.stages
        if self.driver is not None:
            return "at work"
        if all(stage.done == stage.tasks for stage in stages):
            return "finished"
        if self.lost is not None:
            return "killed"
        if self.last_exit == INTERRUPTED:
            return "stopped"
        if any(stage.aside for stage in stages):
            return "with failures"
        return "ended by an error" if self.last_exit else "not finished"


def status_of(directory: Path, recipe: Path | None = None, overrides: Sequence[str] = ()) -> RunStatus:
    """Finds out how far a run is. Writes nothing; works from every machine that sees the directory.

    Args:
        directory: directory of the run.
        recipe: recipe to compare with the run's; unless given, the run's own, where it has been edited since.
        overrides: values laid over that recipe.

    Raises:
        RequestError: it is no run, its driver has not told anything yet, or the recipe is wrong.
    """
    _check_begun(directory)
    driver = living_driver(directory)
    told = read_bulletin(directory)
    status = told if driver is not None else None
    if status is None or status.driver is None or driver is None or status.driver.token != driver.token:
        status = _from_ledger(directory, driver)
    if recipe is None and (overrides or (told is not None and told.recipe != recipe_digest(directory, RECIPE))):
        recipe = directory / RECIPE
    changes = () if recipe is None else compare(directory, status, recipe, overrides)
    lost = last_driver(directory) if driver is None else None
    last_exit = None if told is None or driver is not None else told.exit_status
    return RunStatus(directory, status, driver, lost, last_exit, recipe, changes)


def _check_begun(directory: Path) -> None:
    if directory.is_file():
        there = f"; that of this recipe is {directory_of(directory)}" if directory.suffix == ".toml" else ""
        raise RequestError(f"The status is that of a run directory; {directory} is a file{there}.")
    if not (directory / LEDGER).exists() and (directory / CLUSTER).exists():
        raise RequestError(
            f"The run in {directory} has not begun: the job of its driver waits in the queue, or ended before it could"
            f" begin. {directory / CLUSTER / 'logs'} has what the job wrote; the batch system says why a job waits."
        )
    if not directory.exists() or not any(directory.iterdir()):
        raise RequestError(f"No run has begun in {directory}. To begin one: petavox run RECIPE --run {directory}")
    check_run_directory(directory)


def _from_ledger(directory: Path, driver: Holder | None) -> Status:
    if driver is not None and not is_local(directory):
        raise RequestError(f"The driver of {directory}, {driver}, is just starting. Ask again in some seconds.")
    with Ledger(directory / LEDGER, readonly=True) as ledger:
        return from_ledger(ledger)


def compare(directory: Path, status: Status, recipe: Path, overrides: Sequence[str]) -> tuple[str, ...]:
    """Returns words which stages a recipe would compute again in a run directory, and why.

    Raises:
        RequestError: the recipe is wrong.
    """
    from ..planning.plan import make_plan
    from ..recipes.segmentation_recipe import load
    from ..stages.fingerprint import ingredients
    from .recompute import changes, foundation_changes

    plan = make_plan(load(recipe, overrides), directory)
    refused = foundation_changes(status.foundation, plan)
    if refused:
        return (f"It would be refused in this directory, whose run was begun otherwise: {'; '.join(refused)}.",)
    fingerprints = ingredients(plan.stages, plan.directory, plan.identities)
    settled = {stage.name: stage.done for stage in status.stages}
    found = list(changes(status.ingredients, fingerprints, settled))
    redone = sum(
        settled.get(name, 0) for name, (_, made) in fingerprints.items() if status.ingredients.get(name) != made
    )
    kept = sum(settled.get(name, 0) for name in fingerprints) - redone
    return (*found, f"{redone:,} tasks that are done would be done again, {kept:,} kept.")
