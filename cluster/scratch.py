"""Chooses where workers keep what is theirs alone."""

from __future__ import annotations

import os
import stat
import tempfile
from pathlib import Path

from ..pipeline.errors import StorageError


def private_folder() -> Path:
    """Chooses the folder of Dask's worker files, and clears up after workers that were killed.

    Workers import from there, so nobody else may write into it.
    """
    folder = Path(tempfile.gettempdir()) / f"petavox-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    status = folder.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid() or status.st_mode & 0o022:
        raise StorageError(
            f"Workers keep their files in {folder}, which nobody else may own or write; it is another's, or open to"
            " others. Delete it, or set TMPDIR to another folder."
        )
    return folder
