"""Audits a run: everything that it has made is read back and compared; the rest is made again.

Repairing: tasks whose pieces are flawed run again. From a piece that raises on reading nothing can have been made, so
what depends on it runs again only if it comes out different. A piece that reads, but as something else, may have been
taken for good; what needs it runs again, too, and so on for as long as results come out different than before.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ... import cluster
from ...pipeline.errors import PetavoxError, RequestError
from ...pipeline.geometry import Box, Octree, Triple
from ...pipeline.locations import Location
from ...pipeline.volumes import open_volume
from ..execution.loop import Result
from ..execution.retries import BACKOFF
from ..planning.plan import Plan, make_plan
from ..progress import Progress
from ..recipes.segmentation_recipe import load
from ..report.ending import Ending
from ..run_directory.checks import check_run_directory, keep_drivers_out
from ..run_directory.layout import LEDGER, RECIPE
from ..run_directory.ledger import Ledger
from ..run_directory.ledger_backup import restore
from ..run_directory.lock import Lock, read_locked
from ..stages.fingerprint import ingredients
from ..stages.stage import Stage
from .audit_blocks import Flaw, Item, inspect, inspect_and_clear, inspect_stage
from .recompute import Fingerprints, changes, renew
from .run import compute, opened, report, session

LISTED = 100
"""Flaws that are listed one by one."""

Mask = npt.NDArray[np.bool_]
Masks = dict[str, Mask]


@dataclass(frozen=True)
class Listed:
    """Holds a flaw, and the stage and task that it belongs to."""

    stage: str
    box: Box
    flaw: Flaw


@dataclass
class Findings:
    """Holds the flaws that an audit has found.

    Args:
        checked: tasks whose pieces were looked at.
        flawed: tasks of each stage that left a flawed result.
        silent: flawed tasks whose results read without an error.
        listed: the first flaws.
    """

    checked: int = 0
    flawed: Masks = field(default_factory=dict)
    silent: Masks = field(default_factory=dict)
    listed: list[Listed] = field(default_factory=list)

    @property
    def count(self) -> int:
        return sum(int(mask.sum()) for mask in self.flawed.values())


@dataclass(frozen=True)
class Audit:
    """Describes how an audit ended.

    Args:
        directory: directory of the run.
        restored: how the ledger was restored, if it was damaged.
        findings: flaws that were found, mended or not.
        redone: tasks that were run again; None where no repair was asked for, or needed.
        ending: end of the repair.
    """

    directory: Path
    restored: str
    findings: Findings
    redone: int | None = None
    ending: Ending | None = None

    @property
    def exit_status(self) -> int:
        if not self.findings.count:
            return 0
        return 1 if self.ending is None else self.ending.exit_status


def audit(
    directory: Path, progress: Callable[[], Progress], *, repair: bool = False, overrides: Sequence[str] = ()
) -> Audit:
    """Look at everything that a run has made, and make again what is missing or damaged if that is wanted.

    Args:
        directory: directory of the run.
        progress: makes what is told of what happens.
        repair: whether to run flawed tasks again.
        overrides: values laid over the run's recipe, "cluster.workers=4".

    Raises:
        RequestError: it is no run, a driver is at work there, its ledger is damaged, or its recipe has changed since.
    """
    directory = directory.absolute()
    restored = restore(directory) if repair else ""
    check_run_directory(directory)
    recipe = load(directory / RECIPE, overrides)
    with keep_drivers_out(recipe.input.run):
        plan = make_plan(recipe, directory)
        fingerprints = ingredients(plan.stages, plan.directory, plan.identities)
        if not repair:
            with read_locked(directory), Ledger(directory / LEDGER, readonly=True) as ledger:
                ledger.check_integrity()
                return Audit(directory, restored, _inspect(plan, ledger, fingerprints, progress(), inspect))
        with opened(directory) as (lock, ledger):
            findings = _inspect(plan, ledger, fingerprints, progress(), inspect_and_clear)
            if not findings.count:
                return Audit(directory, restored, findings)
            redone, ending = _repair(plan, ledger, fingerprints, lock, findings, progress())
            return Audit(directory, restored, findings, redone, ending)


def _inspect(
    plan: Plan,
    ledger: Ledger,
    fingerprints: Fingerprints,
    progress: Progress,
    look: Callable[[str, str, Sequence[Item]], list[Flaw]],
) -> Findings:
    _check_unchanged(plan, ledger, fingerprints)
    done = {stage.name: ledger.done(stage.name, len(stage), fingerprints[stage.name][0]) for stage in plan.stages}
    findings = Findings()
    progress.begin([(f"audit {name}", int(mask.sum()), 0) for name, mask in done.items() if mask.any()])
    executor = cluster.start(plan.recipe.cluster.spec(plan.directory, plan.memory, {"cpu"}), look)
    try:
        for stage in plan.stages:
            mask = done[stage.name]
            if not mask.any():
                continue
            checksums = ledger.checksums(stage.name, len(stage), fingerprints[stage.name][0])
            advance = _advance(progress, f"audit {stage.name}")
            for flaw in inspect_stage(stage, mask, checksums, executor, advance):
                number = stage.number(flaw.index)
                for masks, wrong in ((findings.flawed, True), (findings.silent, flaw.is_silent)):
                    masks.setdefault(stage.name, np.zeros(len(stage), np.bool_))[number] |= wrong
                if len(findings.listed) < LISTED:
                    findings.listed.append(Listed(stage.name, _box(plan, stage, flaw.index), flaw))
            findings.checked += int(mask.sum())
    finally:
        executor.close()
        progress.close()
    return findings


def _check_unchanged(plan: Plan, ledger: Ledger, fingerprints: Fingerprints) -> None:
    settled = {summary.name: summary.settled for summary in ledger.summaries()}
    changed = list(changes(ledger.ingredients(), fingerprints, settled))
    if changed:
        raise RequestError(
            f"A run is looked at by the recipe and the code that made it; those of {plan.directory} have changed since:"
            f" {' '.join(changed)} Continue the run first: petavox retry {plan.directory}"
        )


def _advance(progress: Progress, name: str) -> Callable[[int], None]:
    return lambda count: progress.advance(name, count)


def _box(plan: Plan, stage: Stage, index: Triple) -> Box:
    """The voxels that a task is about."""
    if stage.grid == (1, 1, 1):
        return plan.grid.covered
    level: int = getattr(stage.config, "level", 0)
    return Octree(plan.grid).box(level, index)


# --- repairing ------------------------------------------------------------------------------------------------------


def _repair(
    plan: Plan, ledger: Ledger, fingerprints: Fingerprints, lock: Lock, findings: Findings, progress: Progress
) -> tuple[int, Ending]:
    """Run flawed tasks again, and whatever may have been made from them while they were so; how many, and the end."""
    before = _checksums(plan, ledger, fingerprints)
    again = _merged(findings.flawed, dependents(plan.stages, findings.silent))
    total = 0
    ledger.begin()
    _remake_outputs(plan, ledger, fingerprints)
    with session(plan, lock, ledger, progress) as bulletin:
        result = Result(0, 0)
        while again and not result.failed:
            for name, mask in again.items():
                ledger.undo(name, fingerprints[name][0], np.flatnonzero(mask).tolist())
                total += int(mask.sum())
            bulletin.recount()
            result = compute(ledger, plan, fingerprints, progress, BACKOFF, bulletin)
            after = _checksums(plan, ledger, fingerprints)
            changed = {name: mask & (before[name] != after[name]) for name, mask in again.items()}
            later = dependents(plan.stages, changed)
            for name, mask in again.items():  # what has just run had its needs run before it
                if name in later:
                    later[name] &= ~mask
            before, again = after, {name: mask for name, mask in later.items() if mask.any()}
    return total, report(ledger, plan, result)


def dependents(stages: Sequence[Stage], needed: Mapping[str, Mask]) -> Masks:
    """Finds the tasks that directly need one of the given tasks.

    Args:
        stages: stages of the run.
        needed: the given tasks, by the name of their stage.
    """
    by_name = {stage.name: stage for stage in stages}
    found: Masks = {}
    for stage in stages:
        for name, indices in stage.needs.items():
            mask, place = needed.get(name), by_name[name].number
            if mask is None or not mask.any():
                continue
            hit = (any(mask[place(i)] for i in indices(stage.index(number))) for number in range(len(stage)))
            found = _merged(found, {stage.name: np.fromiter(hit, np.bool_, len(stage))})
    return {name: mask for name, mask in found.items() if mask.any()}


def _merged(one: Mapping[str, Mask], other: Mapping[str, Mask]) -> Masks:
    merged = dict(one)
    for name, mask in other.items():
        merged[name] = merged[name] | mask if name in merged else mask
    return merged


def _checksums(plan: Plan, ledger: Ledger, fingerprints: Fingerprints) -> dict[str, npt.NDArray[np.uint64]]:
    return {stage.name: ledger.checksums(stage.name, len(stage), fingerprints[stage.name][0]) for stage in plan.stages}


def _remake_outputs(plan: Plan, ledger: Ledger, fingerprints: Fingerprints) -> None:
    """Make volumes anew that cannot even be opened, and those that have gone."""
    for path, spec in plan.volumes.items():
        if Location(path).exists():
            try:
                good = not open_volume(path).spec.differences(spec)
            except PetavoxError:
                good = False
            if not good:
                Location(path).remove()
    renew(ledger, plan, fingerprints)
