"""Keeps RUN/cluster, where the jobs of a run learn about one another; readable by their owner only."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
from collections import deque
from pathlib import Path
from typing import Any

from ...pipeline.errors import StorageError

_ENDS = ("session.json", "key.pem", "certificate.pem")


class Folder:
    """Stands for the folder of a run's jobs; making one makes it.

    Args:
        run: its directory.

    Raises:
        StorageError: it cannot be written.
    """

    def __init__(self, run: Path) -> None:
        self.path = run.resolve() / "cluster"
        try:
            run.mkdir(parents=True, exist_ok=True)
            self.path.mkdir(mode=0o700, exist_ok=True)
            self.path.chmod(0o700)
            (self.path / "logs").mkdir(exist_ok=True)
        except OSError as error:
            raise StorageError(f"{self.path} cannot be written: {error.strerror}.") from error
        self.id = self._identity()

    def _identity(self) -> str:
        """The run's id; another one for a copy of the folder."""
        made = known_id(self.path.parent)
        if made is None:
            made = secrets.token_hex(4)
            self.write("id.json", json.dumps({"id": made, "inode": self.path.stat().st_ino}))
        return made

    def write(self, name: str, text: str) -> Path:
        """Writes a file that others cannot read; readers see all of it, or the one before."""
        scratch = self.path / f".{name}.{os.getpid()}"
        try:
            descriptor = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                file.write(text)
            return scratch.replace(self.path / name)
        except OSError as error:
            raise StorageError(f"{self.path / name} cannot be written: {error.strerror}.") from error

    def open_session(self, address: str, key: str, certificate: str, interface: str | None) -> None:
        """Let workers find the scheduler, and prove that they belong to it."""
        self.write("key.pem", key)
        self.write("certificate.pem", certificate)
        self.write(
            "session.json", json.dumps({"address": address, "interface": interface, "token": secrets.token_hex(8)})
        )

    def beat(self) -> None:
        """Tell workers that the driver lives."""
        with contextlib.suppress(OSError):
            os.utime(self.path / "session.json")

    def close_session(self) -> None:
        """Leave no credentials behind; a worker that starts now knows that it comes too late."""
        for name in _ENDS:
            (self.path / name).unlink(missing_ok=True)

    def log(self, worker: str) -> Path:
        """Returns the path of the log of a worker's job."""
        return self.path / "logs" / f"{worker}.txt"

    def tail(self, worker: str, lines: int = 5) -> str:
        """Returns the end of the log of a worker's job; "" where there is none."""
        try:
            with self.log(worker).open(encoding="utf-8", errors="replace") as file:
                return "".join(deque(file, lines)).strip()
        except OSError:
            return ""

    @property
    def cancelled(self) -> bool:
        """Tells whether somebody wants the run to end."""
        return (self.path / "cancelled").exists()

    def cancel(self, wanted: bool = True) -> None:
        """Ask the driver to end, or forget that somebody did."""
        if wanted:
            self.write("cancelled", "")
        else:
            (self.path / "cancelled").unlink(missing_ok=True)


def known_id(run: Path) -> str | None:
    """Returns the id by which a run's jobs are known, where it has had any."""
    folder = run / "cluster"
    with contextlib.suppress(OSError, ValueError, KeyError):
        known = json.loads((folder / "id.json").read_text(encoding="utf-8"))
        if known["inode"] == folder.stat().st_ino:
            return str(known["id"])
    return None


def read_session(path: Path) -> dict[str, Any] | None:
    """Reads what a driver has written for workers; None where no driver is at work."""
    try:
        session: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return session
