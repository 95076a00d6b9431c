"""Both networks trained side by side until the time is over, and what of it comes back."""

from __future__ import annotations

import contextlib
import gzip
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from data import UNPACKED
from on_gpu import Setting

NAMES = ("snemi3d", "fib25")
START = 18.0
"""Seconds that a process takes until it trains: torch, the volumes, the first kernels."""
END = 14.0
"""Seconds that are kept for the last state, the checkpoint and the copies."""
LARGEST_FILE = 16 * 2**20
MOST_FILES = 8
SAFE = re.compile(r"[A-Za-z0-9._-]+")
TINY = (
    "training.device=cpu",
    "training.precision=float32",
    "training.batch=1",
    "training.patch=[4,32,32]",
    "training.threads=1",
    "training.log_every=1",
    "training.warm_up=2",
    "augmentation.displacement=4",
)
TINY_CUBES = (*TINY, "training.patch=[32,32,32]")


def train_all(setting: Setting, deadline: float) -> None:
    """Starts every training, ends it in time, and copies checkpoints and logs to the folder that comes back."""
    processes = {name: start(name, setting, deadline) for name in NAMES}
    for name, process in processes.items():
        limit = max(1.0, deadline - END / 2 - time.monotonic())
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(limit)
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)  # which saves
            print(f"{name} was asked to end", flush=True)
    for name, process in processes.items():
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(max(1.0, deadline - time.monotonic()))
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        bring_back(name, setting)
        print(json.dumps({"training": name, "status": process.returncode, **ended(name)}), flush=True)
    check(setting.out)


def start(name: str, setting: Setting, deadline: float) -> subprocess.Popen[bytes]:
    """`petavox train` of a recipe with the minutes that are left."""
    minutes = max(0.02, (deadline - time.monotonic() - START - END) / 60)
    command = [
        sys.executable,
        "-P",
        "-m",
        "petavox.workflows.cli",
        "train",
        str(Path(__file__).parent / f"{name}.toml"),
    ]
    command += ["--out", str(folder(name)), "--set", f"training.minutes={minutes:.4f}"]
    tiny = (TINY if name == "snemi3d" else TINY_CUBES) if setting.tiny else ()
    for change in tiny:
        command += ["--set", change]
    folder(name).mkdir(parents=True, exist_ok=True)
    environment = {**os.environ, "PETAVOX_DATA": str(UNPACKED)}
    with (folder(name) / "output.txt").open("wb") as output:
        return subprocess.Popen(command, env=environment, stdout=output, stderr=output, start_new_session=True)


def folder(name: str) -> Path:
    return UNPACKED / "training" / name


def bring_back(name: str, setting: Setting) -> None:
    """Copies the checkpoint, and the log with what the process said, under flat names."""
    for file in ("weights.safetensors", "config.json"):
        found = folder(name) / "checkpoint" / file
        if found.exists():
            shutil.copyfile(found, setting.out / f"{name}-{file}")
    texts = [
        found.read_bytes() for file in ("training_log.jsonl", "output.txt") if (found := folder(name) / file).exists()
    ]
    (setting.out / f"{name}-log.gz").write_bytes(gzip.compress(b"\n".join(text[-4_000_000:] for text in texts)))


def ended(name: str) -> dict[str, Any]:
    """The last step of a log."""
    log = folder(name) / "training_log.jsonl"
    lines = [json.loads(line) for line in log.read_text().splitlines() if line.strip()] if log.exists() else []
    steps = [line for line in lines if "loss" in line]
    return steps[-1] if steps else {"output": (folder(name) / "output.txt").read_text(errors="replace")[-1500:]}


def check(out: Path) -> None:
    """Drops what could not come back, and says so."""
    for file in sorted(out.iterdir()):
        if file.stat().st_size > LARGEST_FILE or not SAFE.fullmatch(file.name):
            print(f"{file.name} cannot come back: {file.stat().st_size} bytes")
            file.unlink()
    files = sorted(out.iterdir(), key=lambda file: file.stat().st_size)
    for file in files[: max(0, len(files) - MOST_FILES)]:
        print(f"{file.name} is one file too many")
        file.unlink()
