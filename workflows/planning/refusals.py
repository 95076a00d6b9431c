"""Refuses plans that cannot work, before anything is written: for voxels of another size, too little memory or disk."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from ...cluster import PoolName
from ...cluster.gpus import visible_gpus
from ...cluster.quantities import in_bytes
from ...pipeline.errors import RequestError
from ...tasks.contract import GrowsWith
from ..recipes.cluster_section import Cluster
from ..stages.stage import Stage
from .plan import WORKER_BYTES, Plan
from .totals import Estimate, StageEstimate, estimate
from .unit_costs import shipped

_CERTAIN = 0.5
"""The part of what the table of rates says that a run takes in any case: real and phantom data differ by up to two."""

_CURES: Mapping[GrowsWith, tuple[str, str]] = {
    "block": (
        "a block of {block}",
        "Make blocks.shape smaller, or allow more with {more}, or use fewer workers.",
    ),
    "node": (
        "a node at the top of the octree",
        "Lower supervoxels.high or raise supervoxels.join_size, so that fewer contacts go up, or allow more with"
        " {more}.",
    ),
    "scored box": (
        "adding up what is scored",
        "Score a part with evaluate.box, or allow more with {more}.",
    ),
}
"""By the sort of memory: what takes it, and the cure."""


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
    wanted = plan.recipe.cluster
    scale = [] if plan.scale is None or plan.scale.refusal is None else [plan.scale.refusal]
    workers = [*_memory(plan, costs), *_cores(plan.stages, wanted), *_gpus(plan.stages, wanted)]
    return [*scale, *workers, *_contacts(costs), *(_disk(costs) if new else ())]


def _memory(plan: Plan, costs: Estimate) -> Iterator[str]:
    """Names the worst stage of each sort, since each sort has another cure.

    The memory that a task states counts at the least: it is what a run goes by.
    """
    worst: dict[GrowsWith, tuple[float, StageEstimate, PoolName]] = {}
    for stage, found in zip(plan.stages, costs.stages, strict=True):
        sort = stage.resources.grows_with
        needed = max(float(stage.resources.memory), found.memory) + WORKER_BYTES
        if needed > plan.worker_memory(_pool(stage)) and needed > worst.get(sort, (0.0,))[0]:
            worst[sort] = needed, found, _pool(stage)
    for sort, (needed, found, pool) in worst.items():
        more = "cluster.memory" if plan.recipe.cluster.jobs(pool) is None else f"cluster.pools.{pool}.memory"
        what, cure = _CURES[sort]
        yield (
            f"A worker may use {in_bytes(plan.worker_memory(pool))}; {what.format(block=list(plan.grid.block))}"
            f" takes up to {in_bytes(needed)} (stage {found.name}). {cure.format(more=more)}"
        )


def _pool(stage: Stage) -> PoolName:
    return "gpu" if stage.resources.gpu else "cpu"


def _cores(stages: Sequence[Stage], wanted: Cluster) -> Iterator[str]:
    for stage in stages:
        jobs = wanted.jobs(_pool(stage))
        if jobs is not None and stage.resources.threads > jobs.cores:
            yield (
                f"A task of {stage.name} uses {stage.resources.threads} cores; jobs of its pool have {jobs.cores}."
                f" Set cluster.pools.{_pool(stage)}.cores, or lower model.threads."
            )


def _gpus(stages: Sequence[Stage], wanted: Cluster) -> Iterator[str]:
    count, names = max(1, wanted.gpus), visible_gpus()
    local = wanted.kind == "local" and any(stage.resources.gpu for stage in stages)
    if local and names is not None and count > len(names):
        yield (
            f"cluster.gpus must not exceed the GPUs that this process may see; found {count}, and"
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


def _disk(costs: Estimate) -> Iterator[str]:
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
