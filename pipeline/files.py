"""Files written whole or not at all: readers, and whoever comes after a crash, see the old file or the new one."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from .errors import StorageError


@contextlib.contextmanager
def replacing(path: str | Path, what: str = "") -> Iterator[Path]:
    """Gives a place beside a file to write to, which takes the file's name at the end unless something went wrong.

    Args:
        path: path of the file.
        what: word for the file in errors, "Table " or none.

    Raises:
        StorageError: the file cannot be written.
    """
    target = Path(path)
    scratch = target.with_name(f".{target.name}.{os.getpid()}.partial")
    try:
        yield scratch
        scratch.replace(target)
    except BaseException as error:
        with contextlib.suppress(OSError):
            scratch.unlink()
        if isinstance(error, OSError):
            raise StorageError(f"{what}{target} could not be written: {error.strerror or error}.") from error
        raise


def write_text(path: str | Path, text: str) -> None:
    """Put a text into a file.

    Raises:
        StorageError: the file cannot be written.
    """
    write_bytes(path, text.encode())


def write_bytes(path: str | Path, content: bytes) -> None:
    """Put bytes into a file.

    Raises:
        StorageError: the file cannot be written.
    """
    with replacing(path) as scratch:
        scratch.write_bytes(content)


def remove_partial(folder: Path) -> None:
    """Remove what writers have left that were killed; none may be at work in the folder."""
    for left in folder.glob(".*.partial"):
        with contextlib.suppress(OSError):
            left.unlink()
