"""A folder for compiled kernels where neither the installation nor the home folder can be written."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

VARIABLE = "NUMBA_CACHE_DIR"


def find_kernel_cache() -> None:
    """Name a folder of this user's to numba where it would find none, as in a container or a cluster's module.

    Numba compiles nothing without one. It keeps kernels in NUMBA_CACHE_DIR, else beside the code, else in the home
    folder; where none can be written, they go to the folder for temporary files. To be called before kernels are
    imported.
    """
    caches = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")  # noqa: PTH111 - there may be no home
    known = [os.environ.get(VARIABLE), str(Path(__file__).with_name("__pycache__")), f"{caches}/numba"]
    if any(_can_be_written(Path(folder)) for folder in known if folder):
        return
    folder = Path(tempfile.gettempdir(), f"petavox-kernels-{os.getuid()}")
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        status = folder.stat(follow_symlinks=False)
        if status.st_uid != os.getuid() or status.st_mode & 0o022:  # what others can write is code of theirs
            folder = Path(tempfile.mkdtemp(prefix="petavox-kernels-"))
    except OSError:
        return  # the first kernel says so
    os.environ[VARIABLE] = str(folder)


def _can_be_written(folder: Path) -> bool:
    """Tells whether a folder can be written, or made."""
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return os.access(folder, os.W_OK | os.X_OK)
