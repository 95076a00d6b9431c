"""Disks that fill up or stop taking anything, in the middle of a run and before it."""

from __future__ import annotations

import contextlib
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from .case import Case, Fault, UnavailableError
from .driver import PATIENCE, books

_ROOM = 600  # MB of a disk for a whole run


@contextlib.contextmanager
def _disk(folder: Path) -> Iterator[Path]:
    """A small disk of its own, in memory."""
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={_ROOM}m", "tmpfs", folder], capture_output=True)
    if mounted.returncode:
        raise UnavailableError(f"mounting a small disk needs root: {mounted.stderr.decode().strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


def full(case: Case) -> None:
    """The disk of the whole run directory fills up in the middle, twice; there is room again, and it goes on."""
    with _disk(case.run):
        for _ in range(2):
            driver = case.start()
            if case.under_way(driver, more=case.random.randint(5, 60)):
                case.pause(0.0, 0.5)
            case.expect(driver.running, "the run ended before the disk was full")
            ballast = _fill(case.run)
            case.injected += 1
            case.refused(driver, "space")
            case.nothing_left_of(driver)
            ballast.unlink()
            before = books(case.run)
        case.complete()
        case.compare(before)


def _fill(disk: Path) -> Path:
    """Take all the room that a disk has."""
    ballast = disk.parent / disk.name / "ballast"
    with contextlib.suppress(OSError), ballast.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(1 << 20))
    with contextlib.suppress(OSError), ballast.open("ab", buffering=0) as file:
        while True:
            file.write(bytes(1 << 12))
    return ballast


def read_only(case: Case) -> None:
    """The disk of the segmentation takes no more writes in the middle; it does again, and the run goes on."""
    with _disk(case.folder / "disk") as disk:
        case.output = disk / "segmentation.zarr"
        case.recipe.write_text(
            f'{case.recipe.read_text(encoding="utf-8")}[output]\nsegmentation = "{case.output}"\n', encoding="utf-8"
        )
        driver = case.start()
        # Written last, it may be refused as soon as it is there.
        driver.until(case.output.exists)
        case.pause(0.0, 2.0)
        _remount(disk, "ro")
        case.injected += 1
        case.refused(driver, "read-only")
        case.nothing_left_of(driver)
        before = books(case.run)
        _remount(disk, "rw")
        case.complete()
        case.compare(before)


def _remount(disk: Path, mode: str) -> None:
    deadline = time.monotonic() + PATIENCE
    # Refused as long as somebody has a file open there for writing.
    while subprocess.run(["mount", "-o", f"remount,{mode}", disk], capture_output=True).returncode:
        if time.monotonic() > deadline:
            raise TimeoutError(f"{disk} cannot be made {mode}")
        time.sleep(0.01)


def never_writable(case: Case) -> None:
    """A run directory on a disk that takes nothing from the start."""
    with _disk(case.folder / "disk") as disk:
        _remount(disk, "ro")
        case.run = disk / "run"
        driver = case.start()
        case.injected += 1
        case.refused(driver, "cannot be written")
        case.nothing_left_of(driver)
        case.expect(not any(disk.iterdir()), "something was written")


FAULTS = (
    Fault(
        "disk-full",
        "the disk of the run directory fills up while blocks are written, twice",
        "exit 2 and a clear message; with room again, `petavox run` completes, nothing done is redone",
        full,
    ),
    Fault(
        "output-read-only",
        "the disk of the segmentation becomes read-only in the middle",
        "exit 2 and a clear message; writable again, `petavox run` completes, nothing done is redone",
        read_only,
    ),
    Fault(
        "directory-read-only",
        "the run directory lies on a read-only disk from the start",
        "exit 2 and a clear message, nothing is written",
        never_writable,
    ),
)
