"""Plans: what planning itself costs, and how near its estimates come to a run.

    python -m benchmarks.runs.plan_accuracy [--affinities VOLUME] [--block Z Y X] [--high H]

1. `petavox plan` of volumes of 10¹² to 10¹⁵ voxels, of which only the metadata exists: seconds and peak memory of the
   whole command.
2. `petavox plan --calibrate` of a small volume, then its run on one worker: for each stage what was estimated over what
   the ledger and the files say, and the same of the plan without a calibration.

`python -m benchmarks.runs.fit_unit_costs` measures the table of rates anew that plans without a calibration go by.
"""

from __future__ import annotations

import json
import math
import resource
import shutil
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from petavox.pipeline.affinities.offsets import NEAREST
from petavox.pipeline.geometry import Triple
from petavox.pipeline.volumes import VolumeSpec, create_volume, default_chunks

from ..harness import measure, runs, tiled_affinities

SIDES = (10_000, 21_544, 46_416, 100_000)
SECONDS, MEMORY = 10.0, 500e6
COMMAND = [sys.executable, "-P", "-m", "petavox.workflows.cli", "plan"]
FROM_RAW = """
[input]
raw = "{raw}"
[model]
checkpoint = "snemi3d"
mean = 128.0
deviation = 40.0
[evaluate]
truth = "{raw}"
[cluster]
memory = "64GB"
workers = 1000
"""
FROM_AFFINITIES = """
[input]
affinities = "{affinities}"
[cluster]
memory = "64GB"
workers = 1000
"""


@dataclass(frozen=True)
class Planning:
    """What `petavox plan` cost: seconds of the clock and of the processor, and bytes that the process held at most."""

    seconds: float
    processor_seconds: float
    memory: int


def planned(recipe: Path, directory: Path, *options: str) -> tuple[dict[str, Any], Planning]:
    """A plan as its command prints it, and what that cost."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    started = time.perf_counter()
    with (directory.parent / "plan.json").open("w+") as out:
        process = subprocess.Popen([*COMMAND, str(recipe), "--run", str(directory), "--json", *options], stdout=out)
        watch = runs.Watch(process.pid)
        status = process.wait()
        seconds = time.perf_counter() - started
        watch.join()
        out.seek(0)
        if status not in (0, 2):  # a plan that refuses has been made as well
            raise subprocess.CalledProcessError(status, process.args)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        computed = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        return json.load(out), Planning(seconds, computed, watch.peak)


def metadata_only(path: Path, side: int, channels: int | None) -> Path:
    """A cube of which no chunk exists."""
    shape = (side,) * 3
    chunk, shard = default_chunks(tiled_affinities.BLOCK, shape)
    offsets = NEAREST if channels else None
    spec = VolumeSpec(shape, "uint8", (30, 6, 6), channels=channels, offsets=offsets, chunk=chunk, shard=shard)
    create_volume(path, spec)
    return path


def of_sizes(work: Path) -> list[dict[str, Any]]:
    """What planning costs, from affinities to segments and from raw data to scores."""
    rows = []
    for side in SIDES:
        folder = work / f"{side}"
        folder.mkdir(parents=True)
        raw = metadata_only(folder / "raw.zarr", side, None)
        affinities = metadata_only(folder / "affinities.zarr", side, 3)
        for name, text in (("affinities", FROM_AFFINITIES), ("raw data", FROM_RAW)):
            recipe = folder / "recipe.toml"
            recipe.write_text(text.format(raw=raw, affinities=affinities), encoding="utf-8")
            found, cost = planned(recipe, folder / "run")
            row = {"voxels": side**3, "source": name, **asdict(cost)}
            row |= {"blocks": found["blocks"], "tasks": found["tasks"], "refusals": len(found["refusals"])}
            seconds = f"{cost.seconds:.2f} s ({cost.processor_seconds:.2f} s of the processor)"
            print(f"{side**3:.3g} voxels from {name}: {seconds}, {cost.memory / 1e6:.0f} MB", flush=True)
            rows.append(row)
    return rows


def of_a_run(folder: Path, affinities: Path, block: Triple, high: float) -> list[dict[str, Any]]:
    """Each stage of a run on one worker: measured, and estimated over measured with a calibration and without."""
    recipe = runs.write_recipe(folder / "recipe.toml", affinities, block, high=high, workers=1)
    plain, _ = planned(recipe, folder / "run")
    calibrated, calibrating = planned(
        recipe, folder / "run", "--calibrate", "--calibration", str(folder / "found.json")
    )
    finished = runs.run(recipe, folder / "run")
    print(f"calibrating {calibrating.seconds:.1f} s, running {finished.seconds:.1f} s", flush=True)
    tasks = finished.tasks()
    rows = []
    for before, after in zip(plain["stages"], calibrated["stages"], strict=True):
        of_stage = [task for task in tasks if task.stage == after["name"]]
        row = {"stage": after["name"], "tasks": len(of_stage), "basis": after["basis"]}
        row |= _measured(finished.directory, after["name"], of_stage, calibrated["worker_base"])
        for name in ("seconds", "written", "memory"):
            row[f"{name}_calibrated"] = after[name] / row[name] if row[name] else None
            row[f"{name}_table"] = before[name] / row[name] if row[name] else None
        rows.append(row)
    return [*rows, _total(rows, plain, calibrated)]


def _measured(directory: Path, stage: str, tasks: list[runs.Task], base: int) -> dict[str, float]:
    volume = {"supervoxels": "supervoxels.zarr", "relabel": "segmentation.zarr"}.get(stage)
    written = runs.folder_bytes(directory / "tables" / stage)
    return {
        "seconds": sum(task.seconds for task in tasks),
        "written": written + (runs.folder_bytes(directory / volume) if volume else 0),
        "memory": max(0, max(task.peak_memory for task in tasks) - base),
    }


def _total(rows: list[dict[str, Any]], plain: dict[str, Any], calibrated: dict[str, Any]) -> dict[str, Any]:
    total: dict[str, Any] = {"stage": "in all", "tasks": sum(row["tasks"] for row in rows), "basis": ""}
    for name in ("seconds", "written"):
        total[name] = sum(row[name] for row in rows)
        total[f"{name}_calibrated"] = calibrated[name] / total[name]
        total[f"{name}_table"] = plain[name] / total[name]
    total["memory"] = max(row["memory"] for row in rows)
    for key, found in (("calibrated", calibrated), ("table", plain)):
        total[f"memory_{key}"] = max(stage["memory"] for stage in found["stages"]) / total["memory"]
    return total


def _off(ratio: float) -> float:
    """By how many % an estimate misses, above or below alike."""
    return 100 * (math.exp(abs(math.log(ratio))) - 1)


def main(arguments: list[str] | None = None) -> None:
    parser = measure.parser(__doc__)
    parser.add_argument("--block", type=int, nargs=3, default=(32, 128, 128))
    parser.add_argument("--high", type=float, default=0.9999, help="of the supervoxels")
    settings = parser.parse_args(arguments)
    work = settings.work.resolve() / "plan"
    shutil.rmtree(work, ignore_errors=True)
    try:
        rows = of_sizes(work)
        stages = of_a_run(work / "small", settings.affinities, tuple(settings.block), settings.high)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    for row in stages:
        ratios = " ".join(
            f"{name} {row[name]:.4g} ({_ratio(row[f'{name}_calibrated'])}, {_ratio(row[f'{name}_table'])})"
            for name in ("seconds", "written", "memory")
        )
        print(f"{row['stage']:14} {row['basis']:12} {ratios}")
    total = stages[-1]
    largest = f"{rows[-1]['voxels']:.0e} voxels"
    targets = [
        measure.target(f"seconds to plan {largest}", max(row["seconds"] for row in rows), SECONDS, at_least=False),
        measure.target(f"bytes to plan {largest}", max(row["memory"] for row in rows), MEMORY, at_least=False),
        measure.target("calibrated seconds of a run off", _off(total["seconds_calibrated"]), 25, " %", at_least=False),
        measure.target("calibrated bytes written off", _off(total["written_calibrated"]), 25, " %", at_least=False),
        measure.target("calibrated peak memory off", _off(total["memory_calibrated"]), 25, " %", at_least=False),
    ]
    measure.write(settings.results, "plan", vars(settings), rows, targets, stages=stages)


def _ratio(value: float | None) -> str:
    return "–" if value is None else f"×{value:.2f}"


if __name__ == "__main__":
    main()
