"""The README's runs of real data, from raw sections to scored segments: seconds, memory, errors.

    python -m benchmarks.runs.whole [--data ../shared/data] [--networks NAME …] [--work DIR]

Volumes are converted and recipes run as the README says, each run in a new folder of the work folder, which stays.
Every call scores labels that are reported: what it finds belongs into the card of the model, as one look more.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from petavox.pipeline.volumes import open_volume

from ..harness import measure, runs
from ..harness.measure import RESULTS, ROOT


@dataclass(frozen=True)
class Data:
    """Files of a training volume, and the boxes that `petavox convert` takes of them; no box is all."""

    raw: str
    labels: str
    voxel_size: str
    raw_box: tuple[str, ...] = ()
    truth_box: tuple[str, ...] = ()


HALF = ("--box", "125:250,0:250,0:250")
DATA = {
    "snemi3d": Data(
        "snemi3d/raw.tif",
        "snemi3d/train_labels.tif",
        "30,6,6",
        truth_box=("--box", "50:94,512:1024,512:1024"),
    ),
    "fib25": Data("fib25/raw.tif", "fib25/labels.tif", "10,10,10", HALF, HALF),
}


def row(name: str, data: Path, folder: Path) -> dict[str, Any]:
    """Runs the recipe of a name in a folder that is made anew."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    files = DATA[name]
    for source, target, box in ((files.raw, "raw", files.raw_box), (files.labels, "truth", files.truth_box)):
        words = ["convert", str(data / source), f"{target}.zarr", "--voxel-size", files.voxel_size, *box]
        command = [sys.executable, "-P", "-m", "petavox.workflows.cli", *words]
        subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL)
    shutil.copyfile(ROOT / "benchmarks" / f"{name}.toml", folder / f"{name}.toml")
    done = runs.run(folder / f"{name}.toml", folder / "runs" / name)
    scores = json.loads((done.directory / "scores.json").read_text())
    tasks = done.tasks()
    shape = open_volume(str(folder / "raw.zarr")).spec.shape
    voxels = shape[0] * shape[1] * shape[2]
    stages = {task.stage.partition("-")[0]: 0 for task in tasks}
    for task in tasks:
        stage = task.stage.partition("-")[0]
        stages[stage] = max(stages[stage], task.peak_memory)
    return {
        "run": name,
        "voxels": voxels,
        "seconds": round(done.seconds, 1),
        "rate": round(voxels / done.seconds / 1e6, 3),
        "predict_seconds": round(sum(task.seconds for task in tasks if task.stage == "predict"), 1),
        "other_seconds": round(sum(task.seconds for task in tasks if task.stage != "predict"), 1),
        **{key: scores[key] for key in ("adapted_rand_error", "precision", "recall", "voi_split", "voi_merge")},
        "worker_memory": max(stages.values()),
        "driver_memory": done.driver_memory,
        "stage_memory": stages,
    }


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("PETAVOX_DATA", "../shared/data")))
    parser.add_argument("--networks", nargs="+", choices=DATA, default=list(DATA))
    parser.add_argument("--work", type=Path, default=Path("build/whole"), help="folder for volumes and runs")
    parser.add_argument("--results", type=Path, default=RESULTS)
    settings = parser.parse_args(arguments)
    data = settings.data.resolve()
    for name in settings.networks:
        found = row(name, data, settings.work.resolve() / name)
        measure.write(settings.results, f"whole-{name}", {"recipe": f"benchmarks/{name}.toml"}, [found], [])


if __name__ == "__main__":
    main()
