"""Decides what a run keeps and what it makes anew: told first, with the reason, then done."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ...pipeline.errors import RequestError
from ...pipeline.locations import Location
from ...pipeline.volumes import absolute_path, create_volume
from ..planning.plan import Plan
from ..recipes.segmentation_recipe import load
from ..run_directory.checks import check_own_directory
from ..run_directory.layout import LEDGER, RECIPE
from ..run_directory.ledger import Ledger
from ..run_directory.local_disk import is_local
from ..stages.fingerprint import Ingredients, differences, portable
from ..stages.stage import Stage

Fingerprints = Mapping[str, tuple[str, Ingredients]]


IDENTITIES = {"input.raw", "input.affinities", "input.run", "input.mask", "model.checkpoint"}
"""Settings whose identity a foundation holds, and not their path."""


def foundation_changes(before: Mapping[str, Any], plan: Plan) -> list[str]:
    """Lists the settings without which the run cannot be continued, where they differ now; by their paths."""
    now, was = plan.recipe.model_dump(mode="json", warnings=False), _recipe_of(plan.directory)
    return [
        _replaced(name, _at(now, name, plan.directory), _at(was, name, plan.directory))
        if name in IDENTITIES
        else f"{name} is {plan.foundation.get(name)}, was {before.get(name)}"
        for name in {**before, **plan.foundation}
        if before and before.get(name) != plan.foundation.get(name)
    ]


def check_foundation(before: Mapping[str, Any], plan: Plan) -> None:
    """Refuses to continue a run on other data, another network or other blocks."""
    changed = foundation_changes(before, plan)
    if changed:
        raise RequestError(
            f"The run in {plan.directory} was begun otherwise: {'; '.join(changed)}. A run keeps its data, network and"
            " blocks. Choose another directory for this one: --run DIR"
        )


def _replaced(name: str, now: str | None, was: str | None) -> str:
    if now is None or was is None:
        return f"{name} is {now or 'not given'}, was {was or 'not given'}"
    return f"{name} is {now}, was {was}" if now != was else f"{name} ({now}) is no longer what it was then"


def _recipe_of(directory: Path) -> Mapping[str, Any]:
    """The recipe that a run was last driven with; nothing where it cannot be read."""
    try:
        return load(directory / RECIPE).model_dump(mode="json")
    except RequestError:
        return {}


def _at(recipe: Mapping[str, Any], name: str, folder: Path) -> str | None:
    """The name or path that a recipe has at a dotted key; paths may be relative to the folder of the run."""
    section, _, key = name.partition(".")
    value = (recipe.get(section) or {}).get(key)
    value = value.get("path") if isinstance(value, Mapping) else value
    if value is None or section != "input":
        return value
    return absolute_path(str(value), folder)


def directory_refusals(plan: Plan) -> Iterator[str]:
    """Yields the reasons why a run may not write into its directory, each with its cure; writes nothing."""
    new = not (plan.directory / LEDGER).exists()
    try:
        check_own_directory(plan.directory, plan.identities)
        if new:
            check_outputs((), plan)
        elif is_local(plan.directory):  # elsewhere only a driver may look into the ledger
            with Ledger(plan.directory / LEDGER, readonly=True) as ledger:
                check_foundation(ledger.foundation(), plan)
                check_outputs(ledger.outputs(), plan)
    except RequestError as error:
        yield str(error)


def check_outputs(made: Collection[str], plan: Plan) -> None:
    """Refuses to write over anything that this run has not made, and places within others: stale ones are removed."""
    places = [output for stage in plan.stages for output in stage.outputs]
    for output in places:
        for other in (*places, *plan.identities):
            if _nested(output, other):
                raise RequestError(
                    f"A run writes apart from all that it reads; {output} and {other} lie in one another. Choose"
                    " another place under [output], or another directory with --run."
                )
    for stage in plan.stages:
        for output in stage.outputs:
            if portable(output, plan.directory) not in made and Location(output).is_taken():
                raise RequestError(
                    f"Stage {stage.name} would write {output}, which exists and was not made by this run."
                    " Move it away, or choose another place under [output]."
                )


def _nested(one: str, other: str) -> bool:
    return one != other and (f"{one}/".startswith(f"{other}/") or f"{other}/".startswith(f"{one}/"))


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
            if current and Location(output).exists():
                continue
            if current:
                ledger.forget(stage.name)
            elif known_as in made:
                Location(output).remove()
            # Claimed before it is made, known as good after: an interruption between the two is mended here.
            ledger.record_output(known_as, stage.name, "")
            if output in plan.volumes:
                create_volume(output, plan.volumes[output])
            else:
                Location(output).claim()
            ledger.record_output(known_as, stage.name, fingerprint)
