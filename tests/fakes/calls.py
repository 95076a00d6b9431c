"""Functions for executors to call, in a module that their workers can import."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from distributed import get_worker


class Unpicklable:
    def __reduce__(self):
        raise TypeError("this stays where it is")


def call(what: str, *arguments):
    return {
        "double": lambda n: 2 * n,
        "raise": lambda message: exec_raise(message),
        "die": lambda: os.kill(os.getpid(), signal.SIGKILL),
        "die once": die_once,
        "sleep": time.sleep,
        "process": os.getpid,
        "worker": lambda: get_worker().name,
        "environment": lambda name: os.environ.get(name),
        "unpicklable": Unpicklable,
        "allocate": lambda size: len(bytearray(b"x" * size)),
    }[what](*arguments)


def exec_raise(message: str):
    raise ValueError(message)


def die_once(marker: str) -> str:
    path = Path(marker)
    if not path.exists():
        path.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return "survived"
