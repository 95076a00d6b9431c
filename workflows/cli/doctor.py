"""Examines a machine: versions, cores, memory, GPU, batch systems, and whether compiled kernels can be kept."""

from __future__ import annotations

import os
import platform
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from rich.table import Table

from ...cluster.batch import DIALECTS, queue_of
from ...cluster.quantities import in_bytes
from ...pipeline.errors import QueueError, RequestError
from ..report.versions import versions


@dataclass(frozen=True)
class Finding:
    """Describes one thing that was looked at; `advice` says what to do where it is not good."""

    name: str
    found: str
    good: bool = True
    advice: str = ""


def examine() -> list[Finding]:
    """Examines everything."""
    return [*_versions(), *_machine(), *_gpu(), *map(_batch_system, DIALECTS), _kernel_cache()]


def findings_table(findings: list[Finding]) -> Table:
    """Shows findings for reading."""
    table = Table(box=None, pad_edge=False, show_header=False)
    for finding in findings:
        table.add_row("ok" if finding.good else "!!", finding.name, finding.found, finding.advice)
    return table


def _versions() -> Iterator[Finding]:
    found = versions()
    for name, version in found.items():
        yield Finding(name, version)
    if "torch" not in found:
        yield Finding("torch", "not installed", False, "needed to predict affinities and to train")


def _machine() -> Iterator[Finding]:
    import psutil

    memory = psutil.virtual_memory()
    yield Finding("system", f"{platform.system()} {platform.machine()}")
    yield Finding("cores", str(os.cpu_count()))
    yield Finding("memory", f"{in_bytes(memory.available)} free of {in_bytes(memory.total)}")


def _gpu() -> Iterator[Finding]:
    try:
        import torch
    except ImportError:
        yield Finding("GPU", "unknown without torch")
        return
    if torch.cuda.is_available():
        yield Finding("GPU", ", ".join(torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())))
    else:
        yield Finding("GPU", "none; networks run on the CPU")
    yield Finding("cuDNN", cudnn_version(torch.backends.cudnn.version()))  # type: ignore[no-untyped-call]


def cudnn_version(number: int | None) -> str:
    """Returns the version of the library that computes convolutions on a GPU, from the number that torch has for it."""
    if number is None:
        return "none in this torch, which computes on CPUs alone"
    large = 10_000 if number >= 10_000 else 1_000  # 91002 is 9.10.2, and 8902 was 8.9.2
    return f"{number // large}.{number % large // 100}.{number % 100}"


def _batch_system(kind: str) -> Finding:
    """Finds out whether jobs can be submitted from here, and whether the batch system answers."""
    queue = queue_of(kind)
    try:
        queue.check_available()
    except RequestError:
        return Finding(queue.name, "none here")
    try:
        return Finding(queue.name, queue.description())
    except QueueError as error:
        return Finding(queue.name, "does not answer", False, str(error))


def _kernel_cache() -> Finding:
    """Numba keeps compiled kernels beside the code, or in NUMBA_CACHE_DIR; else every worker compiles them again."""
    folder = Path(os.environ.get("NUMBA_CACHE_DIR") or Path(__file__).parents[2] / "pipeline")
    try:
        with tempfile.TemporaryFile(dir=folder):
            return Finding("kernel cache", f"{folder} can be written")
    except OSError as error:
        advice = "set NUMBA_CACHE_DIR to a folder that can be written, or kernels are compiled anew every time"
        return Finding("kernel cache", f"{folder}: {error.strerror}", False, advice)
