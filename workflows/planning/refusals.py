"""Refuses plans that cannot work, before anything is written: for voxels of another size, too little memory or disk."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

from ...cluster import PoolName
from ...cluster.gpus import visible_gpus
from ...cluster.quantities import in_bytes
from ...pipeline.errors import RequestError
from ..stages.stage import Stage
from .estimate import Estimate, StageEstimate, estimate
from .plan import WORKER_BYTES, Plan
from .unit_costs import shipped

_CERTAIN = 0.5
"""The part of what the table of rates says that a run takes in any case: real and phantom data differ by up to two."""


def check(plan: Plan, *, new: bool) -> None:
    """Refuses a plan that cannot work.

    Args:
        plan: plan of a run.
        new: the run has not been started yet, so that its disk is still to be filled.

    Raises:
        RequestError: it cannot; one line for each reason, with the cure.
    """
    wrong = refusals(plan, estimate(plan, shipped()), new=new)
    if wrong:
        raise RequestError("\n".join(wrong))


def refusals(plan: Plan, costs: Estimate, *, new: bool) -> list[str]:
    """Lists the reasons why a plan cannot work, one sentence or two each; none if it can."""
    certain = [*_voxel_size(plan), *_memory(plan, costs), *_cores(plan), *_gpus(plan), *_contacts(costs)]
    return [*certain, *(_disk(plan, costs) if new else ())]


def _voxel_size(plan: Plan) -> Iterator[str]:
    if plan.scale is not None and plan.scale.refusal is not None:
        yield plan.scale.refusal


def _memory(plan: Plan, costs: Estimate) -> Iterator[str]:
    """The worst stage of each sort, since each sort has another cure. What a task states counts at the least: it is
    what a run goes by.
    """
    sorts: dict[str, tuple[float, StageEstimate, PoolName]] = {}
    for stage, found in zip(plan.stages, costs.stages, strict=True):
        upper = stage.task in ("agglomerate", "assign") and found.tasks < len(plan.grid)
        sort = "octree" if upper else "scores" if stage.task == "scores" else "block"
        needed = max(float(stage.resources.memory), found.memory) + WORKER_BYTES
        if needed > plan.worker_memory(_pool(stage)) and needed > sorts.get(sort, (0.0,))[0]:
            sorts[sort] = needed, found, _pool(stage)
    for sort, (needed, found, pool) in sorts.items():
        may = f"A worker may use {in_bytes(plan.worker_memory(pool))}"
        more = "cluster.memory" if plan.recipe.cluster.jobs(pool) is None else f"cluster.pools.{pool}.memory"
        takes = f"takes up to {in_bytes(needed)} (stage {found.name})"
        if sort == "block":
            yield (
                f"{may}; a block of {list(plan.grid.block)} {takes}. Make blocks.shape smaller, or allow more with"
                f" {more}, or use fewer workers."
            )
        elif sort == "octree":
            yield (
                f"{may}; a node at the top of the octree {takes}. Lower supervoxels.high or raise"
                f" supervoxels.join_size, so that fewer contacts go up, or allow more with {more}."
            )
        else:
            yield f"{may}; adding up what is scored {takes}. Score a part with evaluate.box, or allow more."


def _pool(stage: Stage) -> PoolName:
    return "gpu" if stage.resources.gpu else "cpu"


def _cores(plan: Plan) -> Iterator[str]:
    for stage in plan.stages:
        jobs = plan.recipe.cluster.jobs(_pool(stage))
        if jobs is not None and stage.resources.threads > jobs.cores:
            yield (
                f"A task of {stage.name} uses {stage.resources.threads} cores; jobs of its pool have {jobs.cores}."
                f" Set cluster.pools.{_pool(stage)}.cores, or lower model.threads."
            )


def _gpus(plan: Plan) -> Iterator[str]:
    place, names = plan.recipe.cluster, visible_gpus()
    wanted = max(1, place.gpus)
    local = place.kind == "local" and any(stage.resources.gpu for stage in plan.stages)
    if local and names is not None and wanted > len(names):
        yield (
            f"cluster.gpus must not exceed the GPUs that this process may see; found {wanted}, and"
            f" {', '.join(names) or 'none'} in CUDA_VISIBLE_DEVICES or /dev. Lower it, or raise"
            " cluster.workers_per_gpu for more processes on each GPU."
        )


def _contacts(costs: Estimate) -> Iterator[str]:
    from ...pipeline.agglomeration.greedy_merging import MOST_CONTACTS

    worst = max(costs.stages, key=lambda stage: stage.contacts)
    if worst.contacts * _certain(costs) >= MOST_CONTACTS:
        yield (
            f"A node of the octree may have fewer than {MOST_CONTACTS:,} contacts; {worst.name} would be given up to"
            f" {worst.contacts:.3g}. Lower supervoxels.high or raise supervoxels.join_size, so that fewer go up, or"
            " segment the volume in parts."
        )


def _disk(plan: Plan, costs: Estimate) -> Iterator[str]:
    for place, needed in _on_disks(costs).items():
        folder = Path(place)
        free = shutil.disk_usage(folder).free
        least = needed * _certain(costs)
        if least > free:
            yield (
                f"The run needs at least {in_bytes(least)} of disk; {folder} has {in_bytes(free)} free."
                " Free some, or choose a directory on another disk with --run."
            )


def _on_disks(costs: Estimate) -> dict[str, float]:
    """Bytes by a folder that exists, those of one disk together; storage behind a URL is not asked."""
    disks: dict[int, tuple[str, float]] = {}
    for place, needed in costs.disks.items():
        if "://" in place:
            continue
        folder = Path(place)
        while not folder.exists():
            folder = folder.parent
        device = folder.stat().st_dev
        known, so_far = disks.get(device, (str(folder), 0.0))
        disks[device] = known, so_far + needed
    return dict(disks.values())


def _certain(costs: Estimate) -> float:
    return _CERTAIN if any(stage.basis in ("table", "assumed") for stage in costs.stages) else 1.0
