"""Whether blocks, workers and crashes change a segmentation: the same affinities, cut and interrupted in many ways.

    python -m benchmarks.runs.block_invariance AFFINITIES WORK [--out FILE]

Runs `petavox run` over three block shapes, in one process and on two workers, with and without a kill −9 of the driver
or of a worker in the middle, and compares a hash of all voxels of each segmentation. Prints a table; JSON with --out.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import psutil

from petavox.pipeline.geometry import BlockGrid
from petavox.pipeline.volumes import open_volume

BLOCKS = ((32, 256, 256), (50, 128, 320), (100, 1024, 1024))
PLACES = (("serial", 1), ("local", 2))
VICTIMS = (None, "driver", "worker")

RECIPE = """
[input]
affinities = "{affinities}"
[blocks]
shape = {block}
[supervoxels]
low = 0.05
high = 0.95
[agglomeration]
threshold = 0.4
small_size = 600
small_threshold = 0.3
[cluster]
kind = "{kind}"
workers = {workers}
"""


def digest(path: Path) -> str:
    """A hash of every voxel in an order that depends on neither blocks nor chunks."""
    volume = open_volume(path)
    result = hashlib.sha256()
    for index in BlockGrid(volume.spec.shape, (1, *volume.spec.shape[1:])).indices():
        box = BlockGrid(volume.spec.shape, (1, *volume.spec.shape[1:])).box(index)
        result.update(volume.read(box).tobytes())
    return result.hexdigest()


def done(run: Path) -> int:
    """How many tasks the ledger calls done."""
    try:
        with sqlite3.connect(f"file:{run / 'ledger.sqlite'}?mode=ro", uri=True) as ledger:
            return int(ledger.execute("SELECT count(*) FROM tasks WHERE state IN ('done', 'empty')").fetchone()[0])
    except sqlite3.OperationalError:
        return 0


def command(recipe: Path, run: Path) -> list[str]:
    return [sys.executable, "-P", "-m", "petavox.workflows.cli", "run", str(recipe), "--run", str(run)]


def interrupt(recipe: Path, run: Path, victim: str, after: int) -> int:
    """Start a run and kill the driver or one of its workers once some tasks are done; returns how many were."""
    process = subprocess.Popen(command(recipe, run), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while process.poll() is None and done(run) < after:
        time.sleep(0.05)
    killed_at = done(run)
    if victim == "driver":
        process.kill()
    else:
        family = psutil.Process(process.pid).children(recursive=True)
        os.kill(max(family, key=lambda p: p.memory_info().rss).pid, signal.SIGKILL)
    process.wait()
    return killed_at


def measure(affinities: Path, work: Path, block: tuple[int, int, int], place: tuple[str, int], victim: str | None):
    run = work / "run"
    shutil.rmtree(run, ignore_errors=True)
    recipe = work / "recipe.toml"
    recipe.write_text(RECIPE.format(affinities=affinities, block=list(block), kind=place[0], workers=place[1]))
    started = time.perf_counter()
    killed_at = None
    if victim:
        killed_at = interrupt(recipe, run, victim, after=2 if block == BLOCKS[-1] else 8)
    subprocess.run(command(recipe, run), check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return {
        "block": list(block),
        "cluster": place[0],
        "workers": place[1],
        "killed": victim,
        "done_when_killed": killed_at,
        "tasks": done(run),
        "seconds": round(time.perf_counter() - started, 1),
        "sha256": digest(run / "segmentation.zarr"),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("affinities", type=Path)
    parser.add_argument("work", type=Path)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    arguments.work.mkdir(parents=True, exist_ok=True)
    rows = []
    for block in BLOCKS:
        for place in PLACES:
            for victim in VICTIMS:
                if victim == "worker" and place[0] == "serial":
                    continue
                row = measure(arguments.affinities.resolve(), arguments.work.resolve(), block, place, victim)
                rows.append(row)
                print(*row.values(), flush=True)
    hashes = {row["sha256"] for row in rows}
    print(f"{len(rows)} runs, {len(hashes)} segmentation" + ("" if len(hashes) == 1 else "s: NOT IDENTICAL"))
    if arguments.out:
        arguments.out.write_text(json.dumps(rows, indent=1) + "\n")
    sys.exit(len(hashes) != 1)


if __name__ == "__main__":
    main()
