"""`make bench`: every benchmark that needs no data but the demo's, each in its own process, and what targets they meet.

    python -m benchmarks [NAME …] [--demo DIR] [--results DIR] [--full]

Names choose among the steps below; --full takes the larger grids and adds `scale`, which needs an hour and 30 GB of
disk. `python -m benchmarks.pages.benchmarks` then writes docs/benchmarks.md. `runs.whole`, the README's runs, and
`accuracy.ingredients`, which trains for hours, are run by hand: their data lie outside the repository.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path

from .harness import measure
from .harness.measure import RESULTS, ROOT

WITHIN = 1.0  # %
GRID = [*"--low 0.02 --high 0.95 0.99 0.999 --thresholds".split(), *(str(k / 10) for k in range(1, 10))]  # noqa: SIM905

MODULES = {
    "kernels": "kernels.kernels",
    "waterz_chain": "kernels.waterz_chain",
    "inference": "kernels.inference",
    "multicut": "kernels.multicut",
    "accuracy": "accuracy.against_waterz",
    "blocks": "runs.block_invariance",
    "blockwise": "runs.cost_of_blocks",
    "memory": "runs.memory",
    "noop": "runs.loop_overhead",
    "overhead": "runs.overhead",
    "plan": "runs.plan_accuracy",
    "scale": "runs.scale",
}
"""The module that measures a step, by the step's name up to a hyphen."""


def steps(demo: Path, work: Path, full: bool) -> dict[str, list[str]]:
    """The arguments of every step, by its name."""
    affinities = str(demo / "affinities.zarr")
    data, smoothed = ["--affinities", affinities, "--work", str(work)], ["--raw", str(demo / "em.zarr")]
    chosen = {
        "kernels": data,
        "kernels-smoothed": [*data, *smoothed],
        "waterz_chain": data,
        "waterz_chain-smoothed": [*data, *smoothed],
        "accuracy": [*data, "--truth", str(demo / "truth.zarr"), *([] if full else GRID)],
        "blockwise": [*data, *([] if full else ["--repeats", "3"])],
        "memory": data,
        "overhead": data,
        "noop": ["--work", str(work)],
        "plan": data,
        "inference": ["--work", str(work), *([] if full else ["--repeats", "3"])],
        "multicut": [affinities, "--block", "64 256 256", "32 128 128"],
        "blocks": [affinities, str(work / "blocks")],
    }
    return chosen | ({"scale": data} if full else {})


def run(name: str, arguments: list[str], results: Path, work: Path) -> bool:
    """Run one step; whether it went through."""
    kind, out = name.partition("-")[0], work / f"{name}.json"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    writes_rows = kind in ("multicut", "blocks")  # and nothing about the circumstances
    ending = ["--out", str(out)] if writes_rows else ["--results", str(results), "--name", name]
    command = [sys.executable, "-P", "-m", f"benchmarks.{MODULES[kind]}", *arguments, *ending]
    print(f"\n— {name}", flush=True)
    started = time.perf_counter()
    status = subprocess.run(command, env=environment).returncode
    if writes_rows and out.exists():
        rows = json.loads(out.read_text(encoding="utf-8"))
        if kind == "multicut":
            gap = 100 * max(row["gap"] for row in rows)
            target = measure.target(
                "energy of multicut over blocks above the whole solve's", gap, WITHIN, " %", at_least=False
            )
        else:
            hashes = len({row["sha256"] for row in rows})
            target = measure.target("segmentations from all blocks and interruptions", hashes, 1, at_least=False)
        measure.write(results, name, {"arguments": " ".join(arguments)}, rows, [target])
    print(f"{time.perf_counter() - started:.0f} s", flush=True)
    return status == 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help="steps; all unless given")
    parser.add_argument("--demo", type=Path, default=Path("demo"), help="the directory that `make demo` made")
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--work", type=Path, default=Path("build/bench"), help="folder for scratch")
    parser.add_argument("--full", action="store_true", help="larger grids, and `scale`")
    settings = parser.parse_args()
    if not (settings.demo / "affinities.zarr").exists():
        sys.exit(f"The benchmarks take the demo's affinities, but {settings.demo} has none: run `make demo` first.")
    settings.work.mkdir(parents=True, exist_ok=True)
    known = steps(settings.demo, settings.work, settings.full or "scale" in settings.names)
    unknown = set(settings.names) - set(known)
    if unknown:
        sys.exit(f"There is no step {', '.join(sorted(unknown))}; known are {', '.join(known)}, and scale.")
    chosen = {name: arguments for name, arguments in known.items() if name in (settings.names or known)}
    broken = [name for name, arguments in chosen.items() if not run(name, arguments, settings.results, settings.work)]
    print()
    for name in chosen:
        if (settings.results / f"{name}.json").exists() and name not in broken:
            measure.show(json.loads((settings.results / f"{name}.json").read_text(encoding="utf-8")))
    sys.exit(f"These did not go through: {', '.join(broken)}." if broken else 0)


if __name__ == "__main__":
    main()
