"""What every benchmark needs: a fresh process on one core a measurement, and results that say how they came to be."""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import multiprocessing
import os
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from numba import njit

from .commits import ROOT, described

RESULTS = ROOT / "benchmarks" / "results"
REPEATS = 5
BANDWIDTH_OF_THE_FLOORS = 1600.0  # M voxel/s of `bandwidth` on the machine on which the floors were set
COMMIT = described()  # on import: what is measured is what was there then
LOAD_BEFORE = round(os.getloadavg()[0], 2)  # on import: what else kept the cores busy
VERSIONS = ("petavox", "numpy", "numba", "waterz", "bioimage-cpp", "scikit-image", "scipy")

# Libraries that bring threads of their own are told before they load: processes started from here inherit this.
os.environ.update(
    dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"), "1")
)

Call = Callable[[], Any]


@dataclass(frozen=True)
class Timing:
    """Repeated calls of one function in one process.

    Args:
        seconds: of each call; one call before them is not counted.
        memory: bytes that the process held at most during the calls, beyond what it held before them.
        result: what the last call returned, if that is a number or a dict of numbers.
    """

    seconds: tuple[float, ...]
    memory: int
    result: Any

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)

    def rate(self, voxels: int) -> float:
        """M voxel/s of the median call."""
        return voxels / self.median / 1e6


def isolated(
    prepare: Callable[..., Call],
    *arguments: Any,
    repeats: int = REPEATS,
    core: int = 0,
    together: Barrier | None = None,
) -> Timing:
    """Time what `prepare(*arguments)` returns, in a fresh process on one core.

    Args:
        prepare: importable; loads whatever is not to be timed, and returns what is.
        repeats: timed calls.
        core: which of the cores that this process may use.
        together: two or more processes that start every call at the same moment.

    Raises:
        BrokenProcessPool: the process died.
        Exception: whatever `prepare` or the call raised.
    """
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context, initializer=_begin, initargs=(core, together)) as pool:
        return pool.submit(_time, prepare, arguments, repeats).result()


def side_by_side(prepare: Callable[..., Call], arguments: Sequence[tuple[Any, ...]], repeats: int) -> list[float]:
    """Time several processes at once, one core each; seconds of the slowest of them for each call."""
    barrier = multiprocessing.get_context("spawn").Barrier(len(arguments))
    with ThreadPoolExecutor(len(arguments)) as threads:
        futures = [
            threads.submit(isolated, prepare, *own, repeats=repeats, core=core, together=barrier)
            for core, own in enumerate(arguments)
        ]
        timings = [future.result() for future in futures]
    return [max(seconds) for seconds in zip(*(timing.seconds for timing in timings), strict=True)]


_together: Barrier | None = None


def _begin(core: int, together: Barrier | None) -> None:
    global _together
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {cores[core % len(cores)]})
    _together = together
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # some peers talk a lot


def _time(prepare: Callable[..., Call], arguments: tuple[Any, ...], repeats: int) -> Timing:
    call = prepare(*arguments)
    before = psutil.Process().memory_info().rss
    reset_peak_memory()
    result = call()
    seconds = []
    for _ in range(repeats):
        result = None  # at most one result is held
        if _together is not None:
            _together.wait()
        started = time.perf_counter()
        result = call()
        seconds.append(time.perf_counter() - started)
    return Timing(tuple(seconds), peak_memory() - before, result if isinstance(result, int | float | dict) else None)


def reset_peak_memory() -> None:
    """Forget the peak of this process so far (Linux)."""
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def peak_memory(process: int | str = "self") -> int:
    """Bytes that a process held at most."""
    status = Path(f"/proc/{process}/status").read_text(encoding="ascii")
    return int(status.split("VmHWM:")[1].split()[0]) * 1024


def bandwidth(voxels: int = 1 << 25) -> float:
    """M voxel/s of one pass that reads three float32 affinities and writes one uint64 a voxel, on one core."""
    return isolated(_one_pass, voxels).rate(voxels)


def _one_pass(voxels: int) -> Call:
    affinities = np.random.default_rng(0).random((3, voxels), dtype=np.float32)
    labels = np.zeros(voxels, dtype=np.uint64)
    return lambda: _pass(affinities[0], affinities[1], affinities[2], labels)


@njit(cache=True)
def _pass(z, y, x, labels):  # type: ignore[no-untyped-def]
    half = np.float32(0.5)
    for i in range(labels.size):
        labels[i] = np.uint64(z[i] > half) + np.uint64(y[i] > half) + np.uint64(x[i] > half)


def target(what: str, measured: float, limit: float, unit: str = "", *, at_least: bool = True) -> dict[str, Any]:
    """One line of the table of targets."""
    met = measured >= limit if at_least else measured <= limit
    return {"what": what, "measured": measured, "limit": limit, "at_least": at_least, "unit": unit, "met": bool(met)}


def parser(text: str | None) -> argparse.ArgumentParser:
    """What every benchmark can be told."""
    made = argparse.ArgumentParser(description=text, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--affinities", type=Path, default=Path("demo/affinities.zarr"), help="an affinities volume")
    made.add_argument("--raw", type=Path, help="raw data, whose smoothed grey levels serve as affinities instead")
    made.add_argument("--repeats", type=int, default=REPEATS, help="timed calls, of which the median counts")
    made.add_argument("--results", type=Path, default=RESULTS, help="folder of the JSON files")
    made.add_argument("--name", help="of the JSON file, such as kernels-snemi3d; that of the benchmark unless given")
    made.add_argument("--work", type=Path, default=Path("build/bench"), help="folder for scratch volumes and runs")
    return made


def write(
    results: Path, name: str, settings: dict[str, Any], rows: Sequence[Any], targets: Sequence[Any], **more: Any
) -> None:
    """Write a result: what was measured, with which settings, when, and on what."""
    results.mkdir(parents=True, exist_ok=True)
    name = settings.get("name") or name
    plain = {key: str(value) if isinstance(value, Path) else value for key, value in settings.items()}
    document = {"name": name, **_circumstances(), "settings": plain, "targets": targets, "rows": rows, **more}
    path = results / f"{name}.json"
    path.write_text(json.dumps(document, indent=1, default=float) + "\n", encoding="utf-8")
    show(document)
    print(path, flush=True)


def show(result: dict[str, Any]) -> None:
    """Print the targets of a result, and whether they are met."""
    for line in result["targets"]:
        sign, verdict, unit = "≥" if line["at_least"] else "≤", "met" if line["met"] else "MISSED", line["unit"]
        what = f"{result['name']}: {line['what']}"
        print(f"{verdict:6} {what}: {line['measured']:.4g}{unit} ({sign} {line['limit']:.4g})", flush=True)


def _circumstances() -> dict[str, Any]:
    cpu = next((line for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line), "?: ?")
    return {
        "date": time.strftime("%Y-%m-%d"),
        "commit": COMMIT,
        "cpu": cpu.partition(":")[2].strip(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_bytes": psutil.virtual_memory().total,
        "load_before": LOAD_BEFORE,
        "bandwidth": round(bandwidth(), 1),
        "python": platform.python_version(),
        "versions": {name: _version(name) for name in VERSIONS},
    }


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None
