"""What grows with the volume: time, memory, bytes and what the octree passes up, while the volume doubles.

    python -m benchmarks.runs.scale [--affinities VOLUME] [--base Z Y X] [--doublings N] [--block Z Y X] [--high H]

Mirrored affinities of each size are stored, segmented by `petavox run` on two workers, and deleted with all that the
run wrote. Times and memory come from the ledger: seconds of all tasks of a stage together, the peak of the process that
ran a task. Residuals are fitted against the open surface of their nodes; `extrapolation.py` goes on from there.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from petavox.pipeline.geometry import BlockGrid, Octree, Triple

from ..harness import measure, runs, tiled_affinities
from ..harness.runs import Run, Task
from . import memory

FLAT = 15.0  # %
LARGEST_EXPONENT = 1.05
KINDS = ("supervoxels", "faces", "agglomerate", "assign", "relabel")


def sizes(base: Triple, block: Triple, doublings: int) -> Iterator[Triple]:
    """The base and its doublings, each along the axis that has fewest blocks so far."""
    shape = list(base)
    yield base
    for _ in range(doublings):
        axis = min((2, 1, 0), key=lambda a: shape[a] / block[a])
        shape[axis] *= 2
        yield shape[0], shape[1], shape[2]


def nodes(grid: BlockGrid, tasks: list[Task]) -> list[dict[str, Any]]:
    """Every octree node: its open surface, the contacts that its children gave it, and what it passed up."""
    octree = Octree(grid)
    agglomerated = [task for task in tasks if task.stage.startswith("agglomerate-")]
    passed_up, found = {}, []
    for task in sorted(agglomerated, key=lambda task: int(task.stage.partition("-")[2])):
        level = int(task.stage.partition("-")[2])
        index = BlockGrid(octree.shape(level), (1, 1, 1)).unravel(task.number)
        passed_up[level, index] = task.counts["residual_contacts"]
        children = octree.children(level, index) if level else ()
        found.append(
            {
                "level": level,
                "surface": octree.open_surface(level, index),
                "given_contacts": sum(passed_up[level - 1, child] for child in children),
                "residual_nodes": task.counts["residual_nodes"],
                "residual_contacts": task.counts["residual_contacts"],
                "table_bytes": task.counts["table_bytes"],
                "seconds": task.seconds,
                "peak_memory": task.peak_memory,
            }
        )
    return found


def by_level(voxels: int, found: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    for level in sorted({node["level"] for node in found}):
        here = [node for node in found if node["level"] == level]
        row = {"voxels": voxels, "level": level, "nodes": len(here)}
        for name in ("surface", "given_contacts", "residual_nodes", "residual_contacts", "table_bytes", "seconds"):
            row[f"{name}_a_node"] = round(float(np.mean([node[name] for node in here])), 4)
        yield row | {"peak_memory": max(node["peak_memory"] for node in here)}


def fit(found: list[dict[str, Any]]) -> dict[str, float]:
    """residual contacts = coefficient · surface ** exponent, least squares of the logarithms over all nodes."""
    open_nodes = [node for node in found if node["surface"] and node["residual_contacts"]]
    x, y = (np.log([node[name] for node in open_nodes]) for name in ("surface", "residual_contacts"))
    exponent, constant = np.polyfit(x, y, 1)
    scatter = float(np.std(y - (exponent * x + constant)))
    return {
        "exponent": exponent,
        "coefficient": math.exp(constant),
        "scatter": scatter,
        "nodes": len(open_nodes),
        "largest_a_voxel": max(node["residual_contacts"] / node["surface"] for node in open_nodes),
    }


def of_size(finished: Run, folder: Path, shape: Triple, tasks: list[Task]) -> dict[str, Any]:
    voxels = math.prod(shape)
    row: dict[str, Any] = {"voxels": voxels, "shape": list(shape), "tasks": len(tasks), "seconds": finished.seconds}
    row["steady_seconds"] = max(task.ended for task in tasks) - min(task.started for task in tasks)
    row["task_seconds"] = sum(task.seconds for task in tasks)
    row["ns_a_voxel"] = 1e9 * row["task_seconds"] / voxels
    for kind in KINDS:
        of_kind = [task for task in tasks if task.stage.partition("-")[0] == kind]
        row[f"{kind}_ns_a_voxel"] = 1e9 * sum(task.seconds for task in of_kind) / voxels
        row[f"{kind}_peak_memory"] = max((task.peak_memory for task in of_kind), default=0)
    row["worker_peak_memory"] = max(task.peak_memory for task in tasks)
    row["driver_peak_memory"] = finished.driver_memory
    row["ledger_bytes"] = (finished.directory / "ledger.sqlite").stat().st_size
    row["table_bytes"] = runs.folder_bytes(finished.directory / "tables")
    for name in ("supervoxels", "segmentation"):
        row[f"{name}_bytes"] = runs.folder_bytes(finished.directory / f"{name}.zarr")
    row["affinities_bytes"] = runs.folder_bytes(folder / "affinities.zarr")
    return row


def node_memory(folder: Path, small: Path, grid: BlockGrid, found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Memory that the last node of each upper level adds in a fresh process."""
    rows = []
    for level in range(1, Octree(grid).height + 1):
        added = memory.measured(folder, f"agglomerate-{level}", small)["added"]
        given = [node for node in found if node["level"] == level][-1]["given_contacts"]
        rows.append({"level": level, "given_contacts": given, "added": added})
    return rows


def main(arguments: list[str] | None = None) -> None:
    parser = measure.parser(__doc__)
    parser.add_argument("--base", type=int, nargs=3, default=(64, 1024, 2048), help="the smallest volume")
    parser.add_argument("--doublings", type=int, default=4)
    parser.add_argument("--block", type=int, nargs=3, default=tiled_affinities.BLOCK)
    parser.add_argument("--high", type=float, default=0.995, help="of the supervoxels")
    parser.add_argument("--workers", type=int, default=2)
    settings = parser.parse_args(arguments)
    block, work = tuple(settings.block), settings.work.resolve() / "scale"
    rows, levels, all_nodes, memories = [], [], [], []
    shutil.rmtree(work, ignore_errors=True)
    try:
        small = memory.make_run(work / "small", settings.affinities, *memory.SMALL, settings.high)
        for shape in sizes(tuple(settings.base), block, settings.doublings):
            folder, grid = work / "run", BlockGrid(shape, block)
            shutil.rmtree(folder, ignore_errors=True)
            tiled_affinities.write_tiled(settings.affinities, folder / "affinities.zarr", shape, block)
            arguments_of_run = {"high": settings.high, "workers": settings.workers}
            recipe = runs.write_recipe(folder / "recipe.toml", folder / "affinities.zarr", block, **arguments_of_run)
            finished = runs.run(recipe, folder / "run")
            tasks = finished.tasks()
            found = nodes(grid, tasks)
            rows.append(of_size(finished, folder, shape, tasks))
            levels += by_level(math.prod(shape), found)
            all_nodes += found
            print(f"{math.prod(shape):,} voxels: {finished.seconds:.1f} s", flush=True)
        memories = node_memory(folder, small, grid, found)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    fitted = fit(all_nodes)

    def growth(name: str) -> float:
        """% by which the worst size exceeds the best."""
        return 100 * (max(row[name] for row in rows) / min(row[name] for row in rows) - 1)

    targets = [
        measure.target(
            "seconds of all tasks per voxel, worst size over best", growth("ns_a_voxel"), FLAT, " %", at_least=False
        ),
        measure.target(
            "peak memory of block tasks, worst size over best",
            growth("supervoxels_peak_memory"),
            FLAT,
            " %",
            at_least=False,
        ),
        measure.target(
            "exponent of residual contacts over open surface", fitted["exponent"], LARGEST_EXPONENT, at_least=False
        ),
    ]
    extra = {"levels": levels, "node_memory": memories, "fit": fitted}
    measure.write(settings.results, "scale", vars(settings), rows, targets, **extra)


if __name__ == "__main__":
    main()
