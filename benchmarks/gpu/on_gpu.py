"""What a machine with a GPU does with its quarter of an hour: a list of steps, each a process of its own.

    python -P benchmarks/gpu/on_gpu.py measure|measure2|train --seconds S --data FOLDER --out FOLDER [--tiny]

A step that raises, hangs or is killed costs its own time alone; a step that no longer fits into the seconds that are
left is skipped. Every step adds a line of JSON to OUT/steps.jsonl as soon as it ends. The exit status is 0 whatever
happens, for what comes back must come back.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

STEPS = "steps.jsonl"
RESULT = "PETAVOX-STEP "
"""Starts the line of a step's output that holds its numbers."""
KEPT = 1500
"""Characters that are kept of the output of a step that failed."""


@dataclass(frozen=True)
class Step:
    """A name, the most seconds that it may take, and the module and function that it is."""

    name: str
    seconds: float
    module: str = "measurements"


Group = tuple[Step, ...]
"""Steps that run side by side."""

MEASURE: tuple[Group, ...] = (
    (Step("environment", 40), Step("unpack", 60, "data")),
    (
        Step("kernels", 90),
        Step("answers", 100),
        Step("blocks", 100),
        Step("memory", 60),
        Step("training_smoke", 100),
        Step("worker", 110),
    ),
    (Step("training_rates", 60),),
    (Step("network_rates", 80),),
)
MEASURE2: tuple[Group, ...] = (
    (Step("environment", 30), Step("unpack", 40, "data"), Step("training_smoke", 32)),
    (Step("answers_by_device", 30, "predicting"), Step("tile", 25, "predicting")),
    (Step("predict_large", 40, "predicting"),),
    (Step("predict_three", 40, "predicting"),),
    (Step("predict_small", 40, "predicting"),),
    (Step("predict_alone", 40, "predicting"),),
    (Step("predict_default_blocks", 40, "predicting"),),
    (Step("predict_half_precision", 40, "predicting"),),
    (Step("predict_half_overlap", 45, "predicting"),),
)
"""What the second visit measured: prediction with storage, the most telling first."""
FAULTS: Group = (
    Step("raises", 20, "faults"),
    Step("hangs", 3, "faults"),
    Step("crashes", 20, "faults"),
    Step("talks", 20, "faults"),
)
"""What the rehearsal puts among the steps."""


@dataclass(frozen=True)
class Setting:
    """What every step is told."""

    data: Path
    out: Path
    device: str
    tiny: bool

    def arguments(self) -> list[str]:
        plain = ["--data", str(self.data), "--out", str(self.out), "--device", self.device]
        return [*plain, "--tiny"] if self.tiny else plain


def run_groups(groups: tuple[Group, ...], setting: Setting, deadline: float) -> list[dict[str, Any]]:
    """Runs one group after the other until the deadline, of time.monotonic; each step's line is kept when it ends."""
    found = []
    for group in groups:
        with ThreadPoolExecutor(len(group)) as pool:
            for line in as_completed([pool.submit(run_in_time, step, setting, deadline) for step in group]):
                keep(line.result(), setting)
                found.append(line.result())
    return found


def run_in_time(step: Step, setting: Setting, deadline: float) -> dict[str, Any]:
    """A step, if there is time for it."""
    left = deadline - time.monotonic()
    if left < min(step.seconds, 8):
        return {"step": step.name, "ok": False, "seconds": 0.0, "why": f"{max(0, left):.0f} s were left"}
    return run_step(step, setting, min(step.seconds, left))


def keep(line: dict[str, Any], setting: Setting) -> None:
    """Adds a line to what comes back, whatever becomes of this process."""
    with (setting.out / STEPS).open("a") as file:
        file.write(json.dumps(line) + "\n")
        file.flush()
        os.fsync(file.fileno())
    print(json.dumps(line)[:900], flush=True)


def run_step(step: Step, setting: Setting, limit: float) -> dict[str, Any]:
    """A step in a process group of its own, which is killed at its limit."""
    began = time.monotonic()
    command = [sys.executable, "-P", __file__, "step", step.module, step.name, *setting.arguments()]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True, text=True, errors="replace"
    ) as process:
        try:
            output, _ = process.communicate(timeout=limit)
            why = "" if process.returncode == 0 else f"exit status {process.returncode}"
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            output, _ = process.communicate()
            why = f"stopped after {limit:.0f} s"
    line: dict[str, Any] = {"step": step.name, "ok": not why, "seconds": round(time.monotonic() - began, 1)}
    numbers = [text.removeprefix(RESULT) for text in output.splitlines() if text.startswith(RESULT)]
    if numbers:
        line["numbers"] = json.loads(numbers[-1])
    if why:
        line |= {"why": why, "output": output[-KEPT:]}
    return line


def do_step(module: str, name: str, setting: Setting) -> None:
    """The body of a step's process."""
    sys.path.insert(0, str(Path(__file__).parent))
    function: Callable[[Setting], dict[str, Any]] = getattr(__import__(module), name)
    try:
        numbers = function(setting)
    except BaseException:
        traceback.print_exc()
        sys.stdout.flush()
        os._exit(1)  # a broken CUDA context may hang at exit
    print("\n" + RESULT + json.dumps(numbers), flush=True)
    os._exit(0)


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("what", choices=("measure", "measure2", "train", "step", "faults"))
    parser.add_argument("names", nargs="*")
    parser.add_argument("--seconds", type=float, default=200.0)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--tiny", action="store_true", help="for the rehearsal: everything as small as it can be")
    return parser.parse_args()


def main() -> None:
    deadline = time.monotonic()
    given = parsed()
    deadline += given.seconds
    setting = Setting(given.data.resolve(), given.out.resolve(), given.device, given.tiny)
    if given.what == "step":
        do_step(*given.names, setting)
    setting.out.mkdir(parents=True, exist_ok=True)
    if given.what == "train":
        sys.path.insert(0, str(Path(__file__).parent))
        import trainings

        run_groups(((Step("unpack", 60, "data"),),), setting, deadline)
        trainings.train_all(setting, deadline)
    else:
        groups = {"measure": MEASURE, "measure2": MEASURE2, "faults": (FAULTS, MEASURE[0])}
        run_groups(groups[given.what], setting, deadline)


if __name__ == "__main__":
    try:
        main()
    except Exception:
        traceback.print_exc()
    sys.exit(0)
