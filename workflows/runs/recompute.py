"""Decides what a run keeps and what it makes anew: told first, with the reason, then done."""

from __future__ import annotations

import shutil
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ...pipeline.errors import RequestError
from ...pipeline.volumes import create_volume
from ..planning.plan import Plan
from ..run_directory.ledger import Ledger
from ..stages.fingerprint import Ingredients, differences, portable
from ..stages.stage import Stage

Fingerprints = Mapping[str, tuple[str, Ingredients]]


def foundation_changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """Lists the settings without which the run cannot be continued, where they differ now."""
    return [
        f"{name} is {_brief(after.get(name))}, was {_brief(before.get(name))}"
        for name in {**before, **after}
        if before and before.get(name) != after.get(name)
    ]


def check_foundation(before: Mapping[str, Any], plan: Plan) -> None:
    """Refuses to continue a run on other data, another network or other blocks."""
    changed = foundation_changes(before, plan.foundation)
    if changed:
        raise RequestError(
            f"The run directory {plan.directory} was made with another recipe: {'; '.join(changed)}."
            " Choose another directory with --run, or delete this one."
        )


def _brief(value: object) -> str:
    return f"{value[:12]}…" if isinstance(value, str) and len(value) > 12 else str(value)


def check_outputs(made: Collection[str], plan: Plan) -> None:
    """Refuses to write over anything that this run has not made."""
    for stage in plan.stages:
        for output in stage.outputs:
            if portable(output, plan.directory) not in made and "://" not in output and Path(output).exists():
                raise RequestError(
                    f"Stage {stage.name} would write {output}, which exists and was not made by this run."
                    " Move it away, or choose another place under [output]."
                )


def changes(before: Mapping[str, Ingredients], after: Fingerprints, settled: Mapping[str, int]) -> Iterator[str]:
    """Lists the stages that will be computed again, and why: which field, its old value and its new one.

    Args:
        before: what each stage's fingerprint was made from when it last ran.
        after: the same now.
        settled: number of tasks of each stage that have been done.
    """
    reasons: dict[str, list[str]] = {}
    dependents = []
    for name, (_, made_from) in after.items():
        if before.get(name) == made_from or not settled.get(name):
            continue
        found = list(differences(before[name], made_from))
        if found:
            reasons.setdefault("; ".join(found), []).append(name)
        else:
            dependents.append(name)
    for reason, names in reasons.items():
        yield f"Computing {', '.join(names)} again: {reason}."
    if dependents:
        why = "they depend on that" if reasons else "they need other stages than before"
        yield f"Computing {', '.join(dependents)} again: {why}."


def forced(stages: Sequence[Stage], names: Sequence[str]) -> dict[str, str]:
    """Explains why stages are computed again that nothing has changed for: they, or what they need, were named.

    Args:
        stages: each after those that it needs.
        names: names of stages; "agglomerate" stands for that task on every level.

    Raises:
        RequestError: there is no such stage.
    """
    for name in names:
        if not any(name in (stage.name, stage.task) for stage in stages):
            known = ", ".join(stage.name for stage in stages)
            raise RequestError(
                f"--force-stage names a stage of the run; there is none called '{name}'. There are {known}."
            )
    reasons: dict[str, str] = {}
    for stage in stages:
        if stage.name in names or stage.task in names:
            reasons[stage.name] = "asked for with --force-stage"
        elif needed := [need for need in stage.needs if need in reasons]:
            reasons[stage.name] = f"needs {needed[0]}"
    return reasons


def renew(ledger: Ledger, plan: Plan, fingerprints: Fingerprints, again: Collection[str] = ()) -> None:
    """Forget what is stale, or is to be made `again`, remove its outputs, and make those that are missing."""
    ledger.adopt((stage.name, len(stage), *fingerprints[stage.name]) for stage in plan.stages)
    made = ledger.outputs()
    for stage in plan.stages:
        if stage.name in again:
            ledger.forget(stage.name)
        fingerprint = fingerprints[stage.name][0]
        for output in stage.outputs:
            known_as = portable(output, plan.directory)
            current = made.get(known_as) == fingerprint and stage.name not in again
            if current and (Path(output).exists() or "://" in output):
                continue
            if current:
                ledger.forget(stage.name)
            elif known_as in made:
                _remove(output)
            # Claimed before it is made, known as good after: an interruption between the two is mended here.
            ledger.record_output(known_as, stage.name, "")
            if output in plan.volumes:
                create_volume(output, plan.volumes[output])
            ledger.record_output(known_as, stage.name, fingerprint)


def _remove(path: str) -> None:
    if "://" in path:
        raise RequestError(
            f"{path} is out of date and cannot be removed from here. Remove it, or choose another place."
        )
    target = Path(path)
    if target.is_dir():
        shutil.rmtree(target)
    else:
        target.unlink(missing_ok=True)
