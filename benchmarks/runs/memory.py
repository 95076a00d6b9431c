"""Peak memory of each block task in its own fresh process, against its block's bytes and against what the plan states.

    python -m benchmarks.runs.memory [--affinities VOLUME] [--shape Z Y X] [--block Z Y X] [--high H]
                                [--linkage LINKAGE]

A run in one process makes what every task needs. Then each stage's last task runs again in a process that has done the
same task on a very small volume before, so that imports and kernels are there. What counts is the peak of the process
during the task beyond what it held before. A block's bytes are those of the arrays of its task: affinities and
fragments (3 + 4 a voxel), for relabelling fragments and segments (4 + 8), for contingency segments and truth (8 + 8);
tasks that touch no array are compared with the affinities and fragments of one block as well.
"""

from __future__ import annotations

import ctypes
import gc
import math
import os
import shutil
from pathlib import Path
from typing import Any

from petavox.cluster.worker import ENVIRONMENT as WORKER_ENVIRONMENT
from petavox.pipeline.geometry import Triple
from petavox.workflows.planning.plan import WORKER_BYTES, Plan, make_plan
from petavox.workflows.recipes.segmentation_recipe import load

from ..harness import measure, runs, tiled_affinities
from ..harness.measure import Call

MOST_TIMES = 6.0
MOST_OFF = 25.0  # %
BYTES_A_VOXEL = {"relabel": 4 + 8, "contingency": 8 + 8}
SMALL: tuple[Triple, Triple] = ((16, 64, 64), (8, 32, 32))


def planned(folder: Path) -> Plan:
    """The plan of the run in a folder, with a truth so that there is something to count."""
    truth = f'evaluate.truth="{folder / "truth.zarr"}"'
    return make_plan(load(folder / "recipe.toml", [truth] if (folder / "truth.zarr").exists() else []), folder / "run")


def task_memory(folder: Path, name: str, small: Path) -> Call:
    """Run the last task of a stage of a finished run once more: bytes before, and bytes added at most."""
    from petavox import tasks

    stage = next(stage for stage in planned(folder).stages if stage.name == name)
    module = tasks.load(stage.task)
    for other in planned(small).stages:
        if other.task == stage.task:
            module.run(other.config, other.index(len(other) - 1))

    def call() -> dict[str, int]:
        gc.collect()
        ctypes.CDLL(None).malloc_trim(0)
        measure.reset_peak_memory()
        before = measure.peak_memory()
        module.run(stage.config, stage.index(len(stage) - 1))
        return {"before": before, "added": measure.peak_memory() - before}

    return call


def measured(folder: Path, name: str, small: Path) -> dict[str, int]:
    """`task_memory` in a process like a worker's."""
    os.environ.update(WORKER_ENVIRONMENT)
    found: dict[str, int] = measure.isolated(task_memory, folder, name, small, repeats=0).result
    return found


def make_run(folder: Path, affinities: Path, shape: Triple, block: Triple, high: float, linkage: str) -> Path:
    """A finished run over mirrored affinities, its own segmentation serving as truth."""
    tiled_affinities.write_tiled(affinities, folder / "affinities.zarr", shape, block)
    recipe = runs.write_recipe(
        folder / "recipe.toml", folder / "affinities.zarr", block, high=high, linkage=linkage, workers=0
    )
    runs.run(recipe, folder / "run")
    shutil.copytree(folder / "run" / "segmentation.zarr", folder / "truth.zarr")
    return folder


def main(arguments: list[str] | None = None) -> None:
    parser = measure.parser(__doc__)
    parser.add_argument("--shape", type=int, nargs=3, default=(128, 1024, 1024), help="mirrored to so many voxels")
    parser.add_argument("--block", type=int, nargs=3, default=tiled_affinities.BLOCK)
    parser.add_argument("--high", type=float, default=0.995, help="of the supervoxels")
    parser.add_argument("--linkage", default="mean", help="of the agglomeration; 'quantile' keeps histograms")
    settings = parser.parse_args(arguments)
    work = settings.work.resolve() / "memory"
    shutil.rmtree(work, ignore_errors=True)
    try:
        small = make_run(work / "small", settings.affinities, *SMALL, settings.high, settings.linkage)
        shape, block = tuple(settings.shape), tuple(settings.block)
        large = make_run(work / "large", settings.affinities, shape, block, settings.high, settings.linkage)
        rows = [row(large, stage, small) for stage in planned(large).stages if stage.name != "scores"]
    finally:
        shutil.rmtree(work, ignore_errors=True)
    heavy = [found for found in rows if found["times_block"] > 1]
    targets = [
        measure.target(
            "peak memory of a block task, of its block's bytes",
            max(r["times_block"] for r in rows),
            MOST_TIMES,
            "×",
            at_least=False,
        ),
        measure.target(
            "plan off the peak of any task that takes more than its block's bytes",
            max(abs(r["plan_off"]) for r in heavy),
            MOST_OFF,
            " %",
            at_least=False,
        ),
    ]
    rows.append({"stage": "a worker before its task", "added": max(r["before"] for r in rows), "planned": WORKER_BYTES})
    measure.write(settings.results, "memory", vars(settings), rows, targets)


def row(folder: Path, stage: Any, small: Path) -> dict[str, Any]:
    block = math.prod(stage.config.block) * BYTES_A_VOXEL.get(stage.task, 3 + 4)
    found = measured(folder, stage.name, small)
    return {
        "stage": stage.name,
        **found,
        "planned": stage.resources.memory,
        "plan_off": round(100 * (stage.resources.memory / max(1, found["added"]) - 1), 1),
        "block_bytes": block,
        "times_block": round(found["added"] / block, 3),
    }


if __name__ == "__main__":
    main()
