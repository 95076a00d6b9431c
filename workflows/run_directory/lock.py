"""The lock of a run directory: one driver at a time, on whatever machine, and how everybody else sees that it lives.

A driver holds `flock` on the file `lock`, which settles everything between processes of one machine, and between
machines where the file system passes it on. Where it does not, the file's content decides: it names the driver, and the
driver counts up in `heartbeat` every few seconds. A driver on another machine counts as gone when that file has not
changed for so long by the watcher's own clock; no two machines' clocks are ever compared. Both files are rewritten in
place, since a network file system may show a replaced file late. Whoever takes over from a driver that is gone leaves
his own name, and the driver, should it only have slept, finds it there before it writes into the ledger again.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import logging
import os
import platform
import secrets
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal, TextIO

from ...pipeline.errors import LockError, RequestError, StorageError
from ...pipeline.file_lock import Flock, try_lock

LOCK = "lock"
HEARTBEAT = "heartbeat"
BEAT = 5.0
"""Seconds from one heartbeat to the next."""
PATIENCE = 30.0
"""Seconds without a heartbeat after which a driver on another machine counts as gone."""

_NAMELESS = "another driver that is just starting"

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Holder:
    """Names a driver as it names itself in the lock.

    Args:
        host: name of the machine.
        process: number of the process there.
        machine: name of the machine, its boot, and the space of its process numbers.
        started: start of the process, by the machine's own count; process numbers come again.
        since: date and time, for people.
        token: unlike that of any other driver.
    """

    host: str
    process: int
    machine: str
    started: str
    since: str
    token: str

    @classmethod
    def this_process(cls) -> Holder:
        since = time.strftime("%Y-%m-%d %H:%M:%S")
        return cls(platform.node(), os.getpid(), _machine(), _started(os.getpid()), since, secrets.token_hex(8))

    @property
    def is_of_this_machine(self) -> bool:
        return self.machine == _machine()

    @property
    def runs_here(self) -> bool:
        """Tells whether the holder is a process of this machine that has not ended."""
        return self.is_of_this_machine and _started(self.process) == self.started

    def __str__(self) -> str:
        return f"process {self.process} on {self.host} since {self.since}"


class Lock:
    """Holds the lock of this process, until it is let go or taken over.

    Args:
        directory: directory of the run.
        holder: this process.
    """

    def __init__(self, directory: Path, holder: Holder) -> None:
        self._directory, self.holder = directory, holder
        self._ended = threading.Event()
        self._count = 0
        self._duties: list[Callable[[], None]] = []
        self._beat()
        self._thread = threading.Thread(target=self._keep_beating, name="heartbeat", daemon=True)
        self._thread.start()

    def check(self) -> None:
        """Make sure that the lock is still this driver's; called before everything that is written into the ledger.

        Raises:
            LockError: it has been taken over, or the run directory is no longer there.
        """
        found = _read(self._directory)
        if found is None or found.token != self.holder.token:
            taken = f"has been taken over by {found}" if found else "is no longer there: it was moved or removed"
            raise LockError(
                f"A driver writes only into a run directory that it holds; {self._directory} {taken}."
                " This driver stops; what it had in progress is done again by the next one."
            )

    def with_every_beat(self, duty: Callable[[], None]) -> None:
        """Have something done with every heartbeat, in the heartbeat's thread."""
        self._duties.append(duty)

    def release(self) -> None:
        self._ended.set()
        self._thread.join()
        with contextlib.suppress(LockError, OSError):
            self.check()
            (self._directory / HEARTBEAT).unlink(missing_ok=True)
            _write(self._directory / LOCK, "")

    def _keep_beating(self) -> None:
        while not self._ended.wait(BEAT):
            try:
                self.check()
                self._beat()
                for duty in self._duties:
                    duty()
            except LockError:
                return  # the driver finds out by itself
            except Exception as error:  # a full disk, say; others take the driver for dead if it lasts
                log.warning("no heartbeat: %s: %s", type(error).__name__, error)

    def _beat(self) -> None:
        self._count += 1
        _write(self._directory / HEARTBEAT, f"{self.holder.token} {self._count}")


@contextlib.contextmanager
def locked(directory: Path) -> Iterator[Lock]:
    """Keep other drivers out of a run directory; the lock ends with the process, however that ends.

    Raises:
        RequestError: another driver is at work there, or another run reads from it.
        StorageError: the lock cannot be written.
    """
    with _opened(directory) as file:
        flock = try_lock(file, fcntl.LOCK_EX)
        if flock == "refused":
            raise _in_use(directory, _user(directory, file))
        before = _read(directory)
        if before is not None and _is_alive(before, directory, flock, PATIENCE):
            raise _in_use(directory, str(before))
        holder = Holder.this_process()
        try:
            with _claimed(directory, before):
                _write(directory / LOCK, json.dumps(asdict(holder)))
            lock = Lock(directory, holder)
        except OSError as error:
            raise StorageError(f"The lock of {directory} cannot be written: {error.strerror}.") from error
        if before is not None:
            log.warning("took over from %s, which ended without a word", before)
        try:
            yield lock
        finally:
            lock.release()


@contextlib.contextmanager
def read_locked(directory: Path) -> Iterator[None]:
    """Keep drivers out of a run directory while another run reads from it; nothing is written there.

    Drivers on other machines are kept out only where the file system passes `flock` on.

    Raises:
        RequestError: a driver is at work there.
    """
    with _opened(directory, "r") as file:
        flock, holder = try_lock(file, fcntl.LOCK_SH), _read(directory)
        if flock == "refused" or (holder is not None and _is_alive(holder, directory, flock, 2 * BEAT)):
            raise RequestError(
                f"Nothing can start from a run while a driver works on it; {directory} is in use by"
                f" {holder or _NAMELESS}. Wait for it, or stop it."
            )
        yield


def living_driver(directory: Path) -> Holder | None:
    """Finds the driver that is at work in a run directory; takes seconds where it would be on another machine."""
    holder = last_driver(directory)
    if holder is None:
        return None
    with _opened(directory, "r") as file:
        flock = try_lock(file, fcntl.LOCK_SH)
    return holder if _is_alive(holder, directory, flock, 2 * BEAT) else None


def last_driver(directory: Path) -> Holder | None:
    """Returns the driver that has not let go of the lock, alive or not."""
    return _read(directory)


def _is_alive(holder: Holder, directory: Path, flock: Flock, patience: float) -> bool:
    """Tells whether the driver that a lock names is still at work, by how trying to lock it ended."""
    if flock == "refused":
        return True
    if holder.is_of_this_machine:  # if it held the lock, flock would have said so; a copied folder names it, too
        return flock == "unknown" and holder.runs_here
    return _shows_life(holder, directory, patience)


def _shows_life(holder: Holder, directory: Path, patience: float) -> bool:
    """Tells whether the heartbeat changes within so many seconds, or the lock changes hands."""
    first, end = _heartbeat(directory), time.monotonic() + patience
    while time.monotonic() < end:
        time.sleep(min(0.2, patience / 10))
        if _heartbeat(directory) != first:
            return True
        now = _read(directory)
        if now is None or now.token != holder.token:
            return now is not None
    return False


@contextlib.contextmanager
def _claimed(directory: Path, before: Holder | None) -> Iterator[None]:
    """Lets one driver in, of several that want to follow a driver that is gone."""
    if before is None:
        yield
        return
    claim = directory / f"{LOCK}.{before.token}"
    try:
        claim.touch(exist_ok=False)
    except FileExistsError:
        # Whoever it was has had all the time that we waited.
        claim.unlink(missing_ok=True)
        raise _in_use(directory, _NAMELESS) from None
    try:
        now = _read(directory)
        if now is not None and now.token != before.token:
            raise _in_use(directory, str(now))
        yield
    finally:
        claim.unlink(missing_ok=True)


def _in_use(directory: Path, user: str) -> RequestError:
    return RequestError(
        f"Only one driver may work on a run directory; {directory} is in use by {user}."
        " Wait for it, stop it, or choose another directory with --run."
    )


def _opened(directory: Path, mode: Literal["r", "a+"] = "a+") -> TextIO:
    try:
        return (directory / LOCK).open(mode, encoding="utf-8")
    except OSError as error:
        raise StorageError(f"The lock of {directory} cannot be opened: {error.strerror}.") from error


def _user(directory: Path, file: TextIO) -> str:
    """Who holds a lock that is not to be had."""
    if try_lock(file, fcntl.LOCK_SH) == "held":
        return "a run that reads from it"
    return str(_read(directory) or _NAMELESS)


def _read(directory: Path) -> Holder | None:
    """Who the lock names, if anybody."""
    for _ in range(5):
        try:
            text = (directory / LOCK).read_text(encoding="utf-8")
            return Holder(**json.loads(text)) if text else None
        except FileNotFoundError:
            return None
        except (ValueError, TypeError):
            time.sleep(0.02)  # it is just being written
    return None


def _heartbeat(directory: Path) -> str:
    try:
        return (directory / HEARTBEAT).read_text(encoding="utf-8")
    except OSError:
        return ""


def _write(path: Path, text: str) -> None:
    """Rewrite a small file in place, down to the disk."""
    number = os.open(path, os.O_WRONLY | os.O_CREAT, 0o644)
    try:
        content = text.encode()
        os.pwrite(number, content, 0)
        os.ftruncate(number, len(content))
        os.fsync(number)
    finally:
        os.close(number)


def _machine() -> str:
    """This boot of this machine, and its process numbers."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return f"{platform.node()} {uuid.getnode()}"


def _started(process: int) -> str:
    """When a process started, by a count that no setting of the clock changes; empty if there is none."""
    import psutil

    try:
        if not Path("/proc/self/stat").exists():
            return str(psutil.Process(process).create_time())
        fields = Path(f"/proc/{process}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except (OSError, psutil.Error):
        return ""
    return "" if fields[0] == "Z" else fields[19]
