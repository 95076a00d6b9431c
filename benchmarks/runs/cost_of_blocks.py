"""What blocks, storage and workers cost: a whole run on two workers against the kernels in memory on two cores.

    python -m benchmarks.runs.cost_of_blocks [--affinities VOLUME] [--shape Z Y X] [--block Z Y X] [--high H]

In memory: two processes, each on its own core, call `petavox.segment` at the same moment, each on one half of the
affinities, which are loaded before the clock starts, in large pieces or in pieces of a block. The slower process
counts, and of the two sizes of pieces the faster. Nothing is read or written, or joined between pieces.

Blockwise: `petavox run` from stored affinities (written just before, so that the system may still hold them) to the
stored segmentation on two workers: reading, decompression, supervoxels and contacts, faces, agglomeration, assignment,
relabelling, compression, writing, tables and ledger. The command as a whole includes the start of Python, of Dask and
of the workers, and the report; its steady part is from the start of the first task to the end of the last.
"""

from __future__ import annotations

import shutil
import statistics
from pathlib import Path
from typing import Any

import numpy as np

from petavox.pipeline.geometry import BlockGrid, Box, Triple

from ..harness import measure, runs, tiled_affinities
from ..harness.measure import Call
from . import memory

LEAST_SHARE = 60.0  # %
CORES = 2


def in_memory(source: Path, shape: Triple, part: int, piece: Triple, high: float) -> Call:
    """Segment one of two halves along y, in pieces."""
    from petavox import segment

    middle = shape[1] // 2
    box = Box((0, 0, 0), (shape[0], middle, shape[2])) if part == 0 else Box((0, middle, 0), shape)
    affinities = tiled_affinities.mirrored(tiled_affinities.read(source), box)

    def call() -> None:
        for box_of_piece in map(BlockGrid(box.shape, piece).box, BlockGrid(box.shape, piece).indices()):
            segment(affinities[(slice(None), *box_of_piece.slices())], low=0.02, high=high)

    return call


def blockwise(recipe: Path, directory: Path, repeats: int) -> tuple[list[float], list[float], dict[str, float]]:
    """Seconds of the whole command and of its steady part, and the seconds of tasks by stage of the last run."""
    whole, steady = [], []
    by_stage: dict[str, float] = {}
    for _ in range(repeats):
        finished = runs.run(recipe, directory)
        tasks = finished.tasks()
        whole.append(finished.seconds)
        steady.append(max(task.ended for task in tasks) - min(task.started for task in tasks))
        by_stage = {}
        for task in tasks:
            stage = task.stage.partition("-")[0]
            by_stage[stage] = by_stage.get(stage, 0.0) + task.seconds
    return whole, steady, by_stage


def main(arguments: list[str] | None = None) -> None:
    parser = measure.parser(__doc__)
    parser.add_argument("--shape", type=int, nargs=3, default=(64, 2048, 2304), help="mirrored to so many voxels")
    parser.add_argument("--block", type=int, nargs=3, default=tiled_affinities.BLOCK)
    parser.add_argument("--piece", type=int, nargs=3, default=(64, 1024, 1152), help="of the kernels in memory")
    parser.add_argument("--high", type=float, default=0.995, help="of the supervoxels")
    settings = parser.parse_args(arguments)
    shape, block = tuple(settings.shape), tuple(settings.block)
    voxels = int(np.prod(shape))

    rows: list[dict[str, Any]] = []

    def add(what: str, seconds: list[float]) -> float:
        rate = voxels / statistics.median(seconds) / 1e6
        rows.append({"what": what, "voxels": voxels, "seconds": statistics.median(seconds), "rate": round(rate, 2)})
        return rate

    def in_pieces(piece: Triple) -> float:
        prepared = [(settings.affinities, shape, part, piece, settings.high) for part in range(CORES)]
        seconds = measure.side_by_side(in_memory, prepared, settings.repeats)
        return add(f"in memory, two processes, in pieces of {'×'.join(map(str, piece))}", seconds)

    reference = max(in_pieces(tuple(settings.piece)), in_pieces(block))
    work = settings.work / "blockwise"
    shutil.rmtree(work, ignore_errors=True)
    try:
        memory.make_run(work / "small", settings.affinities, *memory.SMALL, settings.high)  # kernels are compiled now
        tiled_affinities.write_tiled(settings.affinities, work / "affinities.zarr", shape, block)
        recipe = runs.write_recipe(work / "recipe.toml", work / "affinities.zarr", block, high=settings.high)
        whole, steady, by_stage = blockwise(recipe, work / "run", settings.repeats)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    share = add("blockwise, the whole command", whole) / reference
    steady_share = add("blockwise, from the first task to the last", steady) / reference
    rows += [{"what": f"tasks of {stage}", "worker_seconds": seconds} for stage, seconds in by_stage.items()]
    what = "blockwise run on two workers of the in-memory kernels on two cores"
    targets = [
        measure.target(f"{what}, whole command", 100 * share, LEAST_SHARE, " %"),
        measure.target(f"{what}, without start and end", 100 * steady_share, LEAST_SHARE, " %"),
    ]
    measure.write(settings.results, "blockwise", vars(settings), rows, targets)


if __name__ == "__main__":
    main()
