"""`make chaos`: every fault, one after another, injected into real runs of a small segmentation.

    python -m benchmarks.chaos [NAME …] [--seed N] [--work DIR] [--results FILE]

Prints one row a fault and writes them as JSON; `python -m benchmarks.pages.faults` then writes docs/faults.md. Exit
status 1: something that was expected did not hold. What a machine cannot have, without root or SLURM, is "not run".
"""

from __future__ import annotations

import argparse
import json
import os
import random
import secrets
import shutil
import signal
import sys
import time
import traceback
from pathlib import Path
from typing import Any

from petavox.pipeline.geometry import BlockGrid

from ..harness.commits import described
from . import blocks, circumstances, damage, disks, kills, network, slurm, trainings
from .case import Case, Fault, UnavailableError
from .job import BLOCK, SHAPE, Job, prepare

HERE = Path(__file__).parent
COMMIT = described()
ROOMS = (kills, blocks, disks, damage, network, circumstances, trainings, slurm)
FAULTS: tuple[Fault, ...] = tuple(fault for room in ROOMS for fault in room.FAULTS)


def suffer(fault: Fault, job: Job, folder: Path, seed: int) -> dict[str, Any]:
    """Inject a fault; its row."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    case = Case(job, folder, random.Random(f"{seed} {fault.name}"))
    started, why = time.perf_counter(), ""
    try:
        fault.inject(case)
    except UnavailableError as reason:
        why = str(reason)
    except Exception:
        case.findings.append(traceback.format_exc().strip().splitlines()[-1])
        traceback.print_exc()
    finally:
        case.close()
    result = "not run" if why else "failed" if case.findings else "passed"
    return {
        "name": fault.name,
        "fault": fault.fault,
        "expected": fault.expected,
        "result": result,
        "injected": case.injected,
        "repeated": case.repeated,
        "redone": case.redone,
        "lost": case.lost,
        "seconds": round(time.perf_counter() - started, 1),
        "notes": [note.replace(f"{folder}/", "") for note in ([why] if why else [*case.findings, *case.notes])],
    }


def show(row: dict[str, Any]) -> None:
    figures = [str(row[key]) for key in ("injected", "repeated", "redone", "lost", "seconds")]
    print(f"{row['result']:8}{row['name']:24}" + "".join(f"{figure:>10}" for figure in figures), flush=True)
    for note in row["notes"]:
        print(f"        {note}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help="faults; all unless given")
    parser.add_argument("--seed", type=int, help="of the moments and the victims; drawn and printed unless given")
    parser.add_argument("--work", type=Path, default=Path("build/chaos"), help="folder for the job and its runs")
    parser.add_argument("--results", type=Path, default=HERE.parent / "results" / "chaos.json")
    settings = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(130))  # so that what was started is ended
    known = {fault.name: fault for fault in FAULTS}
    if unknown := set(settings.names) - set(known):
        sys.exit(f"There is no fault {', '.join(sorted(unknown))}; known are {', '.join(known)}.")
    seed = secrets.randbelow(10**6) if settings.seed is None else settings.seed
    work = settings.work.absolute()
    job = prepare(work / "job")
    print(f"seed {seed}, {job.blocks} blocks of {BLOCK} in {SHAPE} voxels, work in {work}")
    print(" " * 32 + "".join(f"{word:>10}" for word in ("injected", "repeated", "redone", "lost", "seconds")))
    rows = []
    for name, fault in known.items():
        if not settings.names or name in settings.names:
            rows.append(suffer(fault, job, work / name, seed))
            show(rows[-1])
            write(settings.results, rows, seed, whole=not settings.names)
    sys.exit(any(row["result"] == "failed" for row in rows))


def write(path: Path, rows: list[dict[str, Any]], seed: int, whole: bool) -> None:
    """Write the rows; those of some faults alone replace their own in what is there."""
    keep = path.exists() and not whole
    known = {row["name"]: row for row in json.loads(path.read_text(encoding="utf-8"))["rows"]} if keep else {}
    known |= {row["name"]: {**row, "seed": seed, "date": time.strftime("%Y-%m-%d"), "commit": COMMIT} for row in rows}
    document = {
        "name": "chaos",
        "cores": len(os.sched_getaffinity(0)),
        "shape": list(SHAPE),
        "block": list(BLOCK),
        "blocks": len(BlockGrid(SHAPE, BLOCK)),
        "rows": [known[fault.name] for fault in FAULTS if fault.name in known],
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
