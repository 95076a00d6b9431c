"""A copy of the ledger beside it, in case that it is lost or damaged: checksums tell what the copy still knows."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from ...pipeline.errors import RequestError, StorageError
from ...pipeline.files import replacing
from .layout import COPY, LEDGER
from .ledger import Ledger
from .lock import locked


def keep_copy(ledger: Ledger) -> None:
    """Copy a ledger as it is now, whole or not at all.

    Raises:
        StorageError: the copy cannot be written.
    """
    target = ledger.path.with_name(COPY)
    try:
        with replacing(target, "The copy of the ledger ") as scratch:
            scratch.unlink(missing_ok=True)  # of a driver of the same number that was killed
            ledger.copy(scratch)
    except sqlite3.Error as error:
        raise StorageError(f"The copy of the ledger {target} could not be written: {error}.") from error


def restore(directory: Path) -> str:
    """Put the copy of a ledger in the place of one that has gone or is damaged; nothing where the ledger is fine.

    Returns:
        What was done, in words; empty where nothing was.

    Raises:
        RequestError: there is no copy, or a driver is at work.
    """
    path, copy = directory / LEDGER, directory / COPY
    try:
        with Ledger(path, readonly=True) as ledger:
            ledger.check_integrity()
        return ""
    except RequestError as error:
        if not copy.exists():
            raise RequestError(
                f"{error} There is no copy of it beside it, so nothing is known of what is done."
            ) from error
    with locked(directory):
        for suffix in ("", "-wal", "-shm"):
            beside = path.with_name(path.name + suffix)
            if beside.exists():
                beside.replace(path.with_name(f"damaged-{path.name}{suffix}"))
        copy.replace(path)
        with Ledger(path) as ledger:
            keep_copy(ledger)
    return f"The ledger was gone or damaged; its copy has taken its place. What it had lies in damaged-{path.name}."
