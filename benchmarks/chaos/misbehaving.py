"""petavox with one block that never works: `python -m benchmarks.chaos.misbehaving TROUBLE TASK Z,Y,X run RECIPE …`.

The command line, the driver and the workers are petavox's own. Only what workers call is wrapped, so that it finds
another `run` in the module of a task: faults are nothing that the product knows of.
"""

from __future__ import annotations

import ctypes
import functools
import sys
import time
import types
from typing import Any

from petavox import tasks
from petavox.workflows.execution import attempt

Trouble = tuple[str, str, tuple[int, ...]]

_perform, _load = attempt.perform, tasks.load


def perform(trouble: Trouble, *arguments: Any) -> Any:
    """What a worker does with a call, after the task in question has become one that misbehaves."""
    tasks.load = functools.partial(_loaded, trouble)
    return _perform(*arguments)


@functools.cache
def _loaded(trouble: Trouble, name: str) -> types.ModuleType:
    what, task, where = trouble
    module = _load(name)
    if name != task:
        return module
    other = types.ModuleType(module.__name__)
    vars(other).update(vars(module))

    def run(config: Any, index: tuple[int, int, int]) -> Any:
        if index == where:
            {"raise": fail, "memory": hoard, "hang": hang}[what]()
        return module.run(config, index)

    other.run = run  # type: ignore[attr-defined]
    return other


def fail() -> None:
    raise ArithmeticError("this block is bad")


def hoard() -> None:
    """Take more and more memory, none of it to be given back."""
    hoarded = []
    while True:
        hoarded.append(bytearray(b"x" * 20_000_000))
        time.sleep(0.01)


def hang() -> None:
    """Sleep for ever, and let no other thread of the interpreter run meanwhile."""
    ctypes.PyDLL(None).sleep(1_000_000)


if __name__ == "__main__":
    from petavox.workflows import cli

    from .misbehaving import perform as wrapped  # by the name under which workers find it

    what, task, where = sys.argv[1:4]
    del sys.argv[1:4]
    attempt.perform = functools.partial(wrapped, (what, task, tuple(map(int, where.split(",")))))
    cli.main()
