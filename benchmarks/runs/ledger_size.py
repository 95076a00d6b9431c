"""What a ledger of many rows takes, and what checksums of blocks take.

python -m benchmarks.runs.ledger_size [--rows N]
"""

from __future__ import annotations

import argparse
import json
import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from petavox.pipeline import checksums
from petavox.workflows.run_directory.ledger import Ledger
from petavox.workflows.run_directory.ledger_backup import keep_copy
from petavox.workflows.run_directory.ledger_schema import Row

STAGES = [f"stage-{number}" for number in range(5)]
MARK = "f" * 32
BATCH = 500


def seconds(action: Callable[[], object]) -> float:
    started = time.perf_counter()
    action()
    return time.perf_counter() - started


def row(stage: str, number: int) -> Row:
    counts = {"fragments": 70_000 + number, "contacts": 400_000 + number, "table_bytes": 10**6 + number}
    checksum = number * 2654435761 % 2**64
    return Row(stage, number, "done", MARK, 3.3, f"node{number % 16}:1234", 10**9 + number, 2**24, counts, checksum)


def fill(ledger: Ledger, each: int) -> float:
    """Seconds that recording takes, without those of making the rows."""
    spent = 0.0
    for stage in STAGES:
        for first in range(0, each, BATCH):
            rows = [row(stage, number) for number in range(first, min(first + BATCH, each))]
            spent += seconds(lambda rows=rows: ledger.record(rows))
    return spent


def measure(folder: Path, rows: int) -> dict[str, float]:
    each = rows // len(STAGES)
    path = folder / "ledger.sqlite"
    with Ledger(path) as ledger:
        ledger.begin()
        ledger.adopt((stage, each, MARK, {}) for stage in STAGES)
        spent = fill(ledger, each)
    found = {"rows": rows, "rows_per_second": round(rows / spent), "bytes_per_row": path.stat().st_size / rows}
    found["open_seconds"] = seconds(lambda: Ledger(path).__exit__(None, None, None))
    with Ledger(path) as ledger:
        found["done_seconds"] = seconds(lambda: [ledger.done(stage, each, MARK) for stage in STAGES])
        found["checksums_seconds"] = seconds(lambda: [ledger.checksums(stage, each, MARK) for stage in STAGES])
        found["summaries_seconds"] = seconds(ledger.summaries)
        found["copy_seconds"] = seconds(lambda: keep_copy(ledger))
    found["peak_memory"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    block = np.random.default_rng(0).integers(0, 1000, (64, 512, 512)).astype(np.uint64)
    found["checksum_seconds_block_uint64"] = min(seconds(lambda: checksums.of_array(block)) for _ in range(5))
    return found


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        print(json.dumps(measure(Path(scratch), arguments.rows), indent=1))
