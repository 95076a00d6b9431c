"""Adds up a plan: seconds, bytes and memory of each stage and of the run, in a time that no volume changes.

The memory and the work of one task are stated in its file of `tasks/`, by `resources` and `work`. Costs come from the
shipped table of rates, or, for stages of which a block was run on the plan's own data (`calibrate`), from what that
block took; each estimate says which.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from ... import tasks
from ...cluster import PoolName
from ...pipeline.geometry import BlockGrid, Triple
from ...tasks.work import AllTasks, Extent, Growth, LargestTask, Work
from ..stages.stage import Stage
from .calibration import LEAF, exceeds_blocks
from .unit_costs import UNMEASURED, Cost, Rates

if TYPE_CHECKING:
    from .calibration import Calibration
    from .plan import Plan

Basis = Literal["measured", "extrapolated", "table", "assumed"]
LEDGER_BYTES = 330
"""Of a task in the ledger, measured over runs of 38 to 550 tasks."""


@dataclass(frozen=True)
class StageEstimate:
    """Holds the costs that one stage is estimated to have.

    Args:
        name, grid: of the stage; tasks along each axis.
        pool: pool of workers that run it.
        workers: workers of that pool.
        seconds: seconds of all tasks together.
        longest: seconds of the largest task.
        read, written: bytes in storage, of all tasks together.
        most_written: bytes of the largest task.
        memory: bytes that the largest task adds to a worker.
        contacts: that the largest task is given.
        basis: of these numbers: blocks run through this very stage, or through others; the shipped table, or what it
            says of another task, where nobody has measured this one.
    """

    name: str
    grid: Triple
    pool: PoolName
    workers: int
    seconds: float
    longest: float
    read: float
    written: float
    most_written: float
    memory: float
    contacts: float
    basis: Basis

    @property
    def tasks(self) -> int:
        z, y, x = self.grid
        return z * y * x

    @property
    def hours(self) -> float:
        """Returns hours with all workers of the pool at work, or those of the largest task where that takes longer."""
        return max(self.seconds / self.workers, self.longest) / 3600


@dataclass(frozen=True)
class Estimate:
    """Holds the costs that a run is estimated to have.

    Args:
        stages: in the order of the plan.
        growth: growth of the contact graph.
        disks: for each place, a folder or a URL, bytes that are there when the run has ended.
        scratch: bytes besides while it runs: files are written whole beside their place before they get their names.
        notes: remarks that a reader of these numbers has to know.
    """

    stages: tuple[StageEstimate, ...]
    growth: Growth
    disks: Mapping[str, float]
    scratch: float
    notes: tuple[str, ...]

    @property
    def tasks(self) -> int:
        return sum(stage.tasks for stage in self.stages)

    @property
    def seconds(self) -> float:
        """Adds up the seconds of all tasks."""
        return sum(stage.seconds for stage in self.stages)

    @property
    def hours(self) -> float:
        """Returns the hours of the run: stages of one pool share its workers; the pools work at the same time."""
        pools = {stage.pool for stage in self.stages}
        return max(sum(stage.hours for stage in self.stages if stage.pool == pool) for pool in pools)

    @property
    def read(self) -> float:
        return sum(stage.read for stage in self.stages)

    @property
    def written(self) -> float:
        return sum(stage.written for stage in self.stages)

    @property
    def disk(self) -> float:
        """Counts the bytes that are left when the run has ended: everything that stages write, and the ledger."""
        return sum(self.disks.values())

    @property
    def peak_disk(self) -> float:
        """Counts the bytes that are taken at most while the run is at work."""
        return self.disk + self.scratch


def estimate(plan: Plan, rates: Rates, calibration: Calibration | None = None) -> Estimate:
    """Estimates a plan by a table of rates, corrected by a calibration where there is one."""
    growth = rates.growth(plan.density) if calibration is None else calibration.growth
    stages = tuple(
        _stage(stage, plan.grid, plan.workers(_pool(stage)), growth, rates, calibration) for stage in plan.stages
    )
    disks: dict[str, float] = {str(plan.directory): sum(stage.tasks for stage in stages) * LEDGER_BYTES}
    for stage, costs in zip(plan.stages, stages, strict=True):
        disk = _disk(stage, plan.directory)
        disks[disk] = disks.get(disk, 0.0) + costs.written
    scratch = sum(
        workers * max(stage.most_written for stage in stages if stage.pool == pool)
        for pool, workers in {stage.pool: stage.workers for stage in stages}.items()
    )
    assumed = [stage.name for stage in plan.stages if not rates.knows(stage)]
    return Estimate(stages, growth, disks, scratch, (*_notes(plan, calibration), *_assumptions(assumed)))


def work_of(stage: Stage, extent: Extent, growth: Growth) -> Work:
    """States the work of some tasks of a stage, as their task file does."""
    work: Work = tasks.load(stage.task).work(stage.config, extent, growth)
    return work


def _pool(stage: Stage) -> PoolName:
    return "gpu" if stage.resources.gpu else "cpu"


def _stage(
    stage: Stage, grid: BlockGrid, workers: int, growth: Growth, rates: Rates, calibration: Calibration | None
) -> StageEstimate:
    kind, work = rates.kind_of(stage), work_of(stage, LargestTask(grid), growth)
    factors = Cost(seconds=1, read=1, written=1, memory=1) if calibration is None else calibration.factors_of(kind)
    total, largest = rates.cost(kind, work_of(stage, AllTasks(grid), growth)), rates.cost(kind, work)
    memory = float(stage.resources.memory)
    if calibration is not None and largest.memory:
        # Stated from a sampled density; what blocks passed up says more. A process that merged a block is as large.
        memory = max(largest.memory, calibration.costs[LEAF].memory)
    return StageEstimate(
        name=stage.name,
        grid=stage.grid,
        pool=_pool(stage),
        workers=workers,
        seconds=total.seconds * factors.seconds,
        longest=largest.seconds * factors.seconds,
        read=total.read * factors.read,
        written=total.written * factors.written,
        most_written=largest.written * factors.written,
        memory=memory * factors.memory,
        contacts=work.contacts,
        basis=_basis(stage, grid, rates, calibration),
    )


def _basis(stage: Stage, grid: BlockGrid, rates: Rates, calibration: Calibration | None) -> Basis:
    if calibration is not None and rates.kind_of(stage) in calibration.factors and not exceeds_blocks(stage, grid):
        return "measured"
    if not rates.knows(stage):
        return "assumed"
    return "table" if calibration is None else "extrapolated"


def _disk(stage: Stage, directory: Path) -> str:
    """Where a stage writes: the run directory, the folder that a volume outside it goes to, or a URL."""
    output = stage.outputs[0]
    if "://" in output or Path(output).is_relative_to(directory):
        return output if "://" in output else str(directory)
    return os.path.dirname(output)  # noqa: PTH120 - a string as the rest


def _notes(plan: Plan, calibration: Calibration | None) -> tuple[str, ...]:
    notes = list(plan.remarks)
    notes += [] if plan.scale is None or plan.scale.note is None else [plan.scale.note]
    if plan.density_note is not None and calibration is None:
        notes.append(plan.density_note)
    if calibration is not None:
        notes += calibration.notes(plan.recipe)
    else:
        notes.append("Seconds and bytes come from a table measured on other data and another machine.")
        if any(stage.resources.gpu for stage in plan.stages):
            notes.append("Prediction is counted as on one CPU core; --calibrate where there is a GPU says more.")
    return tuple(notes)


def _assumptions(stages: Sequence[str]) -> Iterator[str]:
    if stages:
        yield (
            f"Nobody has measured the costs of {', '.join(stages)}: counted as those of {UNMEASURED} for as many tasks,"
            " voxels and contacts; --calibrate says more."
        )
