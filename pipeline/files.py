"""Small text files, written whole or not at all."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from .errors import StorageError


def write_text(path: str | Path, text: str) -> None:
    """Put a text into a file; readers see the old one or the new one.

    Raises:
        StorageError: the file cannot be written.
    """
    target = Path(path)
    scratch = target.with_name(f".{target.name}.{os.getpid()}.partial")
    try:
        scratch.write_text(text, encoding="utf-8")
        scratch.replace(target)
    except OSError as error:
        with contextlib.suppress(OSError):
            scratch.unlink()
        raise StorageError(f"{target} could not be written: {error.strerror or error}.") from error
