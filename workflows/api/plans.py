"""`petavox.plan`: what a recipe would run, what it would cost, and why it cannot work."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...cluster.quantities import in_bytes, in_time
from .recipes import RecipeLike, read_run
from .tables import Columns, Shown, Table, by, count

if TYPE_CHECKING:
    from ..planning.plan import Plan as RunPlan
    from ..planning.totals import Estimate

_STAGES: Columns = {
    "stage": str,
    "tasks": count,
    "longest task": in_time,
    "seconds": in_time,
    "read": in_bytes,
    "written": in_bytes,
    "memory": in_bytes,
}
_VOLUMES: Columns = {"volume": str, "shape": by, "type": str, "bytes": in_bytes}


@dataclass(frozen=True, repr=False)
class Plan(Shown):
    """Holds what a recipe would run and what that would cost.

    Args:
        directory: of the run.
        stages: a row for each: tasks, seconds of the longest task, seconds with all workers at work, bytes read and
            written, bytes of memory that the largest task takes.
        volumes: that would be written, with their uncompressed bytes.
        hours: of the whole run.
        disk: bytes that are there when the run has ended.
        notes: what you must know about these numbers.
        refusals: why the recipe cannot work, each with its cure; none if it can.
    """

    directory: Path
    stages: Table
    volumes: Table
    hours: float
    disk: float
    notes: tuple[str, ...]
    refusals: tuple[str, ...]

    def parts(self) -> Sequence[str | Table]:
        total = (
            f"{sum(self.stages['tasks']):,} tasks in {self.directory}, {in_time(3600 * self.hours)},"
            f" {in_bytes(self.disk)} of disk."
        )
        refused = [f"Cannot work: {refusal}" for refusal in self.refusals]
        return (total, self.stages, self.volumes, *self.notes, *refused)


def plan(
    recipe: RecipeLike,
    out: str | os.PathLike[str] | None = None,
    *,
    workers: int | None = None,
    cluster: str | None = None,
    **values: Any,
) -> Plan:
    """Estimates what a recipe would run and what that would cost. Writes nothing.

        >>> plan = petavox.plan("recipe.toml", workers=2)
        >>> plan.stages["stage"]
        ['predict', 'supervoxels', 'faces', 'agglomerate-0', ...]
        >>> plan.refusals
        ()

    Args:
        recipe, out, workers, cluster, values: as `petavox.run` takes them.

    Raises:
        RequestError: a value is wrong, or a volume or a model is missing.
    """
    from ..planning.plan import look_through, make_plan
    from ..planning.refusals import refusals
    from ..planning.totals import estimate
    from ..planning.unit_costs import shipped
    from ..run_directory.layout import LEDGER
    from ..runs.recompute import directory_refusals

    planned = make_plan(*read_run(recipe, out, workers, cluster, values))
    look_through(planned)
    costs = estimate(planned, shipped())
    new = not (planned.directory / LEDGER).exists()
    return _shown(planned, costs, [*directory_refusals(planned), *refusals(planned, costs, new=new)])


def _shown(planned: RunPlan, costs: Estimate, refusals: Sequence[str]) -> Plan:
    stages = (
        (stage.name, stage.tasks, stage.longest, 3600 * stage.hours, stage.read, stage.written, stage.memory)
        for stage in costs.stages
    )
    volumes = ((path, spec.array_shape, spec.dtype, spec.nbytes) for path, spec in planned.volumes.items())
    return Plan(
        directory=planned.directory,
        stages=Table(_STAGES, tuple(stages)),
        volumes=Table(_VOLUMES, tuple(volumes)),
        hours=costs.hours,
        disk=costs.disk,
        notes=costs.notes,
        refusals=tuple(refusals),
    )
