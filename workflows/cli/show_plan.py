"""Prints a plan and its costs: tables for people, plain values for `--json`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Group, RenderableType
from rich.table import Table

from ...cluster.quantities import in_bytes, in_time
from ...pipeline.geometry import BlockGrid
from ..planning.patch_cost import computed_a_voxel, frugal_block
from ..planning.plan import WORKER_BYTES
from .number_table import number_table

if TYPE_CHECKING:
    from ..planning.plan import Plan
    from ..planning.totals import Estimate, StageEstimate

WORTH_SAYING = 0.95
"""Blocks are proposed where they compute less than this part of what is computed in those asked for."""


def plan_table(plan: Plan, costs: Estimate, refusals: Sequence[str]) -> RenderableType:
    """Lays out a plan: stages with tasks and costs, volumes with bytes, totals, and the reasons against it."""
    workers = plan.recipe.cluster
    disk = f"{in_bytes(costs.disk)} of disk in the end, at most {in_bytes(costs.peak_disk)} meanwhile"
    return Group(
        f"{plan.directory}: {' × '.join(map(str, plan.grid.shape))} = {len(plan.grid):,} blocks of"
        f" {list(plan.grid.block)} over {_covered(plan)};"
        f" {workers.kind}, {plan.workers('cpu')} workers of {in_bytes(plan.memory)} each, of which one without a task"
        f" takes {in_bytes(WORKER_BYTES)}.",
        "",
        _stages(costs),
        "",
        _volumes(plan),
        "",
        f"{costs.tasks:,} tasks, {in_time(costs.seconds)} of one worker, {in_time(3600 * costs.hours)} of all; {disk}.",
        *costs.notes,
        *_patches(plan),
        *(f"Cannot work: {line}" for line in refusals),
    )


def _covered(plan: Plan) -> str:
    volume = f"{list(plan.grid.volume)} voxels"
    return volume if plan.grid.region is None else f"the box {plan.grid.region} of {volume}"


def plan_json(plan: Plan, costs: Estimate, refusals: Sequence[str]) -> dict[str, Any]:
    """Returns a plan and its costs as plain values; bytes, seconds, hours and voxels."""
    totals = ("tasks", "seconds", "hours", "read", "written", "disk", "peak_disk")
    return {
        "directory": str(plan.directory),
        "blocks": len(plan.grid),
        "grid": list(plan.grid.shape),
        "box": [list(plan.grid.covered.start), list(plan.grid.covered.stop)],
        "worker_memory": plan.memory,
        "worker_base": WORKER_BYTES,
        **{name: getattr(costs, name) for name in totals},
        "disks": dict(costs.disks),
        "density": asdict(plan.density) | asdict(costs.growth),
        "stages": [
            asdict(stage) | {"grid": list(stage.grid), "tasks": stage.tasks, "hours": stage.hours}
            for stage in costs.stages
        ],
        "volumes": [
            {"path": path, "shape": list(spec.array_shape), "dtype": spec.dtype, "bytes": spec.nbytes}
            for path, spec in plan.volumes.items()
        ],
        "computed_a_voxel": None if plan.patches is None else computed_a_voxel(plan.grid, plan.patches),
        "notes": list(costs.notes),
        "refusals": list(refusals),
    }


def _patches(plan: Plan) -> Iterator[str]:
    """Says how much a network computes, and in which blocks it would compute less."""
    if plan.patches is None:
        return
    asked = plan.grid
    better = BlockGrid(asked.volume, frugal_block(asked, plan.patches), asked.region)
    now, then = (computed_a_voxel(grid, plan.patches) for grid in (asked, better))
    yield f"The network computes {now:.1f} voxels for each one of the volume: patches overlap, and blocks share some."
    if then < WORTH_SAYING * now:
        yield f"In blocks of {list(better.block)} it would compute {then:.1f}."


def _stages(costs: Estimate) -> Table:
    """A row a stage; what all rows have in common is left out."""
    pools, bases = ({getattr(stage, name) for stage in costs.stages} for name in ("pool", "basis"))
    more = [name for name, found in (("pool", pools), ("basis", bases)) if len(found) > 1]
    table = number_table("stage", "tasks", "a task", "stage", "reads", "writes", "memory", *more, padding=2, unbroken=1)
    for stage in costs.stages:
        table.add_row(stage.name, *_row(stage), *(getattr(stage, name) for name in more))
    table.add_row(
        "in all", f"{costs.tasks:,}", "", in_time(3600 * costs.hours), in_bytes(costs.read), in_bytes(costs.written)
    )
    return table


def _row(stage: StageEstimate) -> list[str]:
    times = in_time(stage.longest), in_time(3600 * stage.hours)
    return [f"{stage.tasks:,}", *times, *(in_bytes(size) for size in (stage.read, stage.written, stage.memory))]


def _volumes(plan: Plan) -> Table:
    table = number_table("volume", "shape", "type", "uncompressed", padding=2)
    table.columns[1].no_wrap = True
    for path, spec in plan.volumes.items():
        within = Path(path).is_relative_to(plan.directory)
        table.add_row(
            str(Path(path).relative_to(plan.directory)) if within else path,
            " × ".join(map(str, spec.array_shape)),
            spec.dtype,
            in_bytes(spec.nbytes),
        )
    return table
