"""sbatch, squeue and scancel whose one node is a network namespace: just enough for the worker jobs of a run.

A copy of this file under each of these names lies in a folder with the file `namespace` and the folder `jobs`.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(sys.argv[0]).absolute().parent
JOBS = HERE / "jobs"


def sbatch(script: str) -> None:
    """Start every job of an array at once; prints its id."""
    options = dict(re.findall(r"^#SBATCH --([\w-]+)=(.*)$", script, re.MULTILINE))
    job = str(time.monotonic_ns() // 1_000_000)
    file = JOBS / f"{job}.sh"
    file.write_text(script, encoding="utf-8")
    first, last = map(int, options["array"].split("-"))
    for task in range(first, last + 1):
        said = options["output"].replace("%A", job).replace("%a", str(task))
        with Path(said).open("wb") as output:
            process = subprocess.Popen(
                ["ip", "netns", "exec", (HERE / "namespace").read_text(encoding="ascii"), "bash", file],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                env={**os.environ, "SLURM_ARRAY_JOB_ID": job, "SLURM_ARRAY_TASK_ID": str(task)},
            )
        (JOBS / f"{job}_{task}").write_text(f"{process.pid} {options['job-name']}", encoding="utf-8")
    print(job)


def squeue(names: list[str]) -> None:
    """The jobs of these names that run, in the form that petavox asks for."""
    for file in JOBS.glob("*_*"):
        process, name = file.read_text(encoding="utf-8").split()
        with contextlib.suppress(OSError):
            status = Path(f"/proc/{process}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0]
            if name in names and status != "Z":
                print(f"{file.name}|{name}|RUNNING|10:00:00|None")


def scancel(jobs: list[str]) -> None:
    """End jobs and all that they have started."""
    for job in jobs:
        with contextlib.suppress(OSError):
            os.killpg(int((JOBS / job).read_text(encoding="utf-8").split()[0]), signal.SIGTERM)


if __name__ == "__main__":
    options = dict(option[2:].partition("=")[::2] for option in sys.argv[1:] if option.startswith("--"))
    match Path(sys.argv[0]).name:
        case "sbatch":
            sbatch(sys.stdin.read())
        case "squeue":
            squeue(options["name"].split(","))
        case "scancel":
            scancel([word for word in sys.argv[1:] if not word.startswith("--")])
