"""Locks of files between processes: they end with their process, however that ends."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import time
from typing import IO, Any, Literal

Flock = Literal["held", "refused", "unknown"]  # unknown: the file system has no such locks
_NO_FLOCK = {errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.EINVAL}


def try_lock(file: IO[Any], how: int, tries: int = 4) -> Flock:
    """Tries to lock a file; several times, since whoever only looks holds it for a moment.

    Args:
        file: open file; closing it lets go of the lock.
        how: `fcntl.LOCK_EX` or `fcntl.LOCK_SH`.
        tries: how often.
    """
    for attempt in range(tries):
        try:
            fcntl.flock(file, how | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(0.03 if attempt < tries - 1 else 0)
        except OSError as error:
            if error.errno not in _NO_FLOCK:
                raise
            return "unknown"
        else:
            return "held"
    return "refused"


def unlock(file: IO[Any]) -> None:
    """Lets go of a lock, if there is one."""
    with contextlib.suppress(OSError):
        fcntl.flock(file, fcntl.LOCK_UN)
