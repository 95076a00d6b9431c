"""What a run costs beyond its tasks: the time of `petavox run` on two workers over its tasks' own seconds, shared out.

    python -m benchmarks.runs.overhead [--affinities VOLUME] [--shape Z Y X] [--block Z Y X] [--high H] [--repeats N]
    python -m benchmarks.runs.overhead --predict RAW [--checkpoint NAME] …

The volume has the size of SNEMI3D: the affinities are mirrored to it, or taken as they are where they have it; or the
run predicts them from raw data. The overhead is the time of the whole command, from its start to its end, above what
its tasks would take if the workers did nothing else: the sum of their seconds in the ledger, divided by the workers. It
is told apart in

start   until the first task begins: Python, the plan and its checks, Dask, the workers' start
waiting a worker had nothing to do while another one ran a task: nothing else was ready
between no worker ran a task: the run loop and the scheduler
end     after the last task: the report

each in seconds of the command, waiting and between as far as they lengthen it. Kernels are compiled before.
"""

from __future__ import annotations

import shutil
import statistics
from pathlib import Path
from typing import Any

from petavox.pipeline.geometry import Triple
from petavox.pipeline.volumes import open_volume

from ..harness import measure, runs, tiled_affinities
from . import memory

MOST = 10.0  # %
SHAPE: Triple = (100, 1024, 1024)


def affinities(source: Path, shape: Triple, block: Triple, work: Path) -> Path:
    """A volume of a shape: the source itself, or one mirrored from it."""
    if open_volume(source).spec.shape == shape:
        return source
    tiled_affinities.write_tiled(source, work / "affinities.zarr", shape, block)
    return work / "affinities.zarr"


def account(finished: runs.Run, workers: int) -> dict[str, float]:
    """Where the seconds of a run went: names as above, and `tasks`, those of the tasks themselves."""
    tasks = finished.tasks()
    first, last = min(task.started for task in tasks), max(task.ended for task in tasks)
    moments = sorted([(task.started, 1) for task in tasks] + [(task.ended, -1) for task in tasks])
    waiting = between = 0.0
    busy, before = 0, first
    for moment, change in moments:
        waiting += (moment - before) * max(0, workers - busy) / workers if busy else 0.0
        between += 0.0 if busy else moment - before
        busy, before = busy + change, moment
    return {
        "command": finished.seconds,
        "tasks": sum(task.seconds for task in tasks) / workers,
        "start": first - finished.started,
        "waiting": waiting,
        "between": between,
        "end": finished.started + finished.seconds - last,
    }


def main(arguments: list[str] | None = None) -> None:
    parser = measure.parser(__doc__)
    parser.add_argument("--shape", type=int, nargs=3, default=SHAPE)
    parser.add_argument("--block", type=int, nargs=3, default=(50, 512, 512))
    parser.add_argument("--high", type=float, default=0.95, help="of the supervoxels")
    parser.add_argument("--threshold", type=float, default=0.4, help="of the agglomeration")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--predict", type=Path, metavar="RAW", help="start from raw data instead of affinities")
    parser.add_argument("--checkpoint", default="snemi3d", help="of the network, with --predict")
    parser.set_defaults(repeats=3)
    settings = parser.parse_args(arguments)
    block, workers = tuple(settings.block), settings.workers
    work = settings.work / "overhead"
    shutil.rmtree(work, ignore_errors=True)
    rows: list[dict[str, Any]] = []
    try:
        memory.make_run(work / "small", settings.affinities, *memory.SMALL, settings.high)  # kernels are compiled now
        rules = {"high": settings.high, "threshold": settings.threshold, "workers": workers}
        if settings.predict is None:
            volume = affinities(settings.affinities, tuple(settings.shape), block, work)
            recipe = runs.write_recipe(work / "recipe.toml", volume, block, **rules)
        else:
            recipe = runs.write_recipe(work / "recipe.toml", settings.predict, block, **rules)
            text = recipe.read_text(encoding="utf-8").replace("affinities = ", "raw = ", 1)
            recipe.write_text(f'{text}[model]\ncheckpoint = "{settings.checkpoint}"\n', encoding="utf-8")
        for _ in range(settings.repeats):
            found = account(runs.run(recipe, work / "run"), workers)
            rows.append(found | {"overhead": 100 * (found["command"] / found["tasks"] - 1)})
            print({name: round(value, 2) for name, value in rows[-1].items()}, flush=True)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    overhead = statistics.median(row["overhead"] for row in rows)
    target = measure.target("whole command above its tasks' seconds", overhead, MOST, " %", at_least=False)
    measure.write(settings.results, "overhead", vars(settings), rows, [target])


if __name__ == "__main__":
    main()
