"""Runs of `petavox run` as benchmarks look at them: their time, their memory, and what the ledger says of each task."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from petavox.pipeline.geometry import Triple

from .measure import peak_memory

RECIPE = """
[input]
affinities = "{affinities}"
[blocks]
shape = {block}
[supervoxels]
low = 0.02
high = {high}
[agglomeration]
linkage = "{linkage}"
threshold = {threshold}
[cluster]
kind = "{kind}"
workers = {workers}
"""


@dataclass(frozen=True)
class Task:
    """A row of the ledger; `ended` is when the driver heard of it, `peak_memory` that of the worker's process."""

    stage: str
    number: int
    seconds: float
    ended: float
    worker: str
    peak_memory: int
    voxels: int
    counts: dict[str, int]

    @property
    def started(self) -> float:
        return self.ended - self.seconds


@dataclass(frozen=True)
class Run:
    """A finished run.

    Args:
        directory: of the run.
        started: when the command started (seconds since the epoch).
        seconds: from then to its end.
        driver_memory: bytes that the command's own process held at most.
    """

    directory: Path
    started: float
    seconds: float
    driver_memory: int

    def tasks(self) -> list[Task]:
        """What the ledger knows of every task."""
        with sqlite3.connect(f"file:{self.directory / 'ledger.sqlite'}?mode=ro", uri=True) as ledger:
            rows = ledger.execute(
                "SELECT stage, number, seconds, ended, worker, peak_memory, voxels, counts FROM tasks ORDER BY ended"
            ).fetchall()
        return [Task(*row[:-1], json.loads(row[-1] or "{}")) for row in rows]


class Watch(threading.Thread):
    """Looks at the peak memory of a running process until it ends: attribute `peak`, bytes."""

    def __init__(self, process: int) -> None:
        super().__init__(daemon=True)
        self._process = process
        self.peak = 0
        self.start()

    def run(self) -> None:
        try:
            while True:
                self.peak = max(self.peak, peak_memory(self._process))
                time.sleep(0.1)
        except (OSError, IndexError):
            return


def write_recipe(
    path: Path,
    affinities: Path,
    block: Triple,
    *,
    high: float,
    linkage: str = "mean",
    threshold: float = 0.5,
    workers: int = 2,
) -> Path:
    """A recipe from stored affinities to a stored segmentation: on so many local workers, or with 0 in one process."""
    kind = "local" if workers else "serial"
    text = RECIPE.format(
        affinities=affinities.resolve(),
        block=list(block),
        high=high,
        linkage=linkage,
        threshold=threshold,
        kind=kind,
        workers=max(1, workers),
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def run(recipe: Path, directory: Path) -> Run:
    """Run a recipe in a new directory, as on the command line.

    Raises:
        CalledProcessError: the run failed.
    """
    shutil.rmtree(directory, ignore_errors=True)
    command = [sys.executable, "-P", "-m", "petavox.workflows.cli", "run", str(recipe), "--run", str(directory)]
    began, started = time.time(), time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    watch = Watch(process.pid)
    _, told = process.communicate()
    seconds = time.perf_counter() - started
    watch.join()
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command, stderr=told)
    return Run(directory, began, seconds, watch.peak)


def folder_bytes(path: Path) -> int:
    """Bytes of all files below a folder."""
    return sum((Path(folder) / name).stat().st_size for folder, _, names in os.walk(path) for name in names)
