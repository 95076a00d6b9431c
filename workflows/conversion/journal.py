"""Records a conversion, so that one that was interrupted goes on, and no two write under one name."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

from ...pipeline.errors import RequestError, StorageError
from ...pipeline.geometry import Triple, triple

Extremes = tuple[float, float, int]
"""Least and greatest finite value, and how many are not finite."""


@dataclass
class Journal:
    """Lists the regions of a volume that are written; it lies beside the volume on the disk while that is being made.

    Args:
        partial: where the volume is made; it gets its name when it is complete.
        done: regions that are written, by their index, with their extremes.
        discarded: whether something else that an earlier conversion had left was thrown away.
    """

    partial: Path
    done: dict[Triple, Extremes] = field(default_factory=dict)
    discarded: bool = False
    _file: TextIO | None = None

    def add(self, region: Triple, extremes: Extremes) -> None:
        """Note that a region is written."""
        self.done[region] = extremes
        self._append({"region": list(region), "extremes": list(extremes)})

    def discard(self) -> None:
        """Throw away what was written; the same command would begin anew."""
        shutil.rmtree(self.partial, ignore_errors=True)
        _journal_of(self.partial).unlink(missing_ok=True)

    def _append(self, entry: dict[str, Any]) -> None:
        assert self._file is not None
        self._file.write(json.dumps(entry) + "\n")
        self._file.flush()


@contextmanager
def journal_for(target: Path, settings: dict[str, Any]) -> Iterator[Journal]:
    """Opens the journal of the conversion into a name, which nobody else may use meanwhile.

    When the block ends without an error, the volume gets its name and the journal goes; else both stay, so that a
    conversion with equal settings goes on.

    Args:
        target: the name.
        settings: what the volume will hold; a conversion with other settings begins anew.

    Raises:
        RequestError: another conversion into this name is at work.
        StorageError: the folder cannot be written.
    """
    partial = partial_of(target)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with _locked(_journal_of(partial), target) as file:
            try:
                yield _read(file, partial, settings)
                if partial.exists():
                    _put(partial, target)
            finally:
                if not partial.exists():
                    _journal_of(partial).unlink(missing_ok=True)
    except OSError as error:
        raise StorageError(
            f"Could not write {target}: {error.strerror or error}. The same command goes on with what was written."
        ) from error


def partial_of(target: Path) -> Path:
    """Returns where a volume is made that will get a name."""
    return target.with_name(f".{target.name}.partial")


def _journal_of(partial: Path) -> Path:
    return partial.with_name(f"{partial.name}.journal")


@contextmanager
def _locked(path: Path, target: Path) -> Iterator[TextIO]:
    """A file that is open and locked; the lock ends with the process, however that ends."""
    while True:
        file = path.open("a+", encoding="utf-8")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
            raise RequestError(
                f"Another conversion into {target} is at work. Wait for it, or choose another name."
            ) from None
        except OSError:
            pass  # some disks that are mounted over a network know no locks
        if path.exists() and os.path.samestat(path.stat(), os.fstat(file.fileno())):
            break
        file.close()  # whoever had it has finished and removed it: begin again
    with file:
        yield file


def _read(file: TextIO, partial: Path, settings: dict[str, Any]) -> Journal:
    """The journal as it stands, of which nothing is taken over if it is that of other settings."""
    file.seek(0)
    known = json.loads(json.dumps(settings))
    entries = list(_entries(file.read()))
    journal = Journal(partial, _file=file)
    if entries and entries[0] == known and partial.exists():
        for entry in entries[1:]:
            low, high, odd = entry["extremes"]
            journal.done[triple(entry["region"])] = (low, high, odd)
        return journal
    journal.discarded = partial.exists()
    shutil.rmtree(partial, ignore_errors=True)
    file.seek(0)
    file.truncate()
    journal._append(known)
    return journal


def _entries(text: str) -> Iterator[Any]:
    """The lines of a journal up to one that was cut short."""
    for line in text.splitlines():
        try:
            yield json.loads(line)
        except ValueError:
            return


def _put(partial: Path, target: Path) -> None:
    """Give the complete volume its name.

    Raises:
        RequestError: something has taken the name meanwhile.
    """
    if target.exists():
        raise RequestError(f"{target} has come into being meanwhile, and is kept; the new volume is {partial}.")
    partial.rename(target)
