"""What the run loop itself costs: a million blocks that do nothing, in five stages with dependencies, on two workers.

    python -m benchmarks.runs.loop_overhead [--blocks N] [--work DIR]

The driver is a process of its own (`empty_stages`), with Dask's scheduler in it: its memory is looked at at every tenth
of the way. The rate is over the time from the first block on. At 99 % the run is stopped, and then continued: it starts
work when its first block is done, counted from the start of its process, with the imports, the workers' start, and the
reading of the ledger.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from ..harness import measure
from ..harness.measure import ROOT

LEAST_RATE = 3000.0
MOST_MEMORY = 300.0  # MB
MOST_GROWTH = 10.0  # % from a tenth of the way to the end
MOST_START = 5.0  # s
STOP = 0.99


def drive(directory: Path, *options: str) -> list[dict[str, Any]]:
    """Run or continue; the lines of the driver."""
    command = [sys.executable, "-P", "-m", "benchmarks.harness.empty_stages", str(directory), *options]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    said = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True).stdout
    return [json.loads(line) for line in said.splitlines()]


def main(arguments: list[str] | None = None) -> None:
    parser = measure.parser(__doc__)
    parser.add_argument("--blocks", type=int, default=10**6)
    parser.add_argument("--workers", type=int, default=2)
    settings = parser.parse_args(arguments)
    directory = settings.work / "noop"
    shutil.rmtree(directory, ignore_errors=True)
    try:
        options = [f"--blocks={settings.blocks}", f"--workers={settings.workers}"]
        through = drive(directory, *options, f"--stop={int(STOP * settings.blocks)}")
        again = drive(directory, *options)
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    first, tenth, last, resumed = through[0], through[1], through[-1], again[0]
    rate = (last["done"] - first["done"]) / (last["seconds"] - first["seconds"])
    largest = max(line["bytes"] for line in through) / 1e6
    growth = 100 * (max(line["bytes"] for line in through[1:]) / tenth["bytes"] - 1)
    targets = [
        measure.target("blocks that do nothing", rate, LEAST_RATE, "/s"),
        measure.target("driver with scheduler", largest, MOST_MEMORY, " MB", at_least=False),
        measure.target("growth of the driver after the first tenth", growth, MOST_GROWTH, " %", at_least=False),
        measure.target(f"start with {resumed['done']} done", resumed["seconds"], MOST_START, " s", at_least=False),
    ]
    measure.write(settings.results, "noop", vars(settings), [*through, *again], targets)


if __name__ == "__main__":
    main()
