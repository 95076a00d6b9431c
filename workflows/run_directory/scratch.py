"""Folders for what is looked at once and removed again."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from ...pipeline.errors import StorageError


@contextlib.contextmanager
def scratch_folder(parent: Path, prefix: str, cure: str) -> Iterator[Path]:
    """Makes a new folder, removed with all that it holds in the end.

    Args:
        parent: where it is made; made itself if it is not there, and then kept.
        prefix: beginning of the folder's name.
        cure: advice where the folder cannot be made.

    Raises:
        StorageError: the parent cannot be written.
    """
    try:
        parent.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
    except OSError as error:
        raise StorageError(f"{parent} cannot be written: {error.strerror}. {cure}") from error
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
