"""A network that is gone for a minute."""

from __future__ import annotations

import contextlib
import os
import subprocess
import time
from collections.abc import Iterator

from case import Case, Fault, UnavailableError
from driver import books

SECONDS = 60.0


@contextlib.contextmanager
def namespace() -> Iterator[str]:
    """A network of its own, with nothing but a loopback; its name."""
    name = f"petavox-chaos-{os.getpid()}"
    made = _ip("netns", "add", name)
    if made:
        raise UnavailableError(f"a network namespace needs root: {made}")
    try:
        _ip("-n", name, "link", "set", "lo", "up")
        yield name
    finally:
        _ip("netns", "delete", name)


def _ip(*words: str) -> str:
    """Change the network; what is wrong, where something is."""
    try:
        done = subprocess.run(["ip", *words], capture_output=True, text=True)
    except FileNotFoundError:
        return "there is no `ip`"
    return done.stderr.strip() if done.returncode else ""


def partition(case: Case) -> None:
    """Driver and workers in a network of their own whose only link is down for a minute, in the middle."""
    with namespace() as name:
        driver = case.start(within=("ip", "netns", "exec", name))
        case.under_way(driver, more=case.random.randint(5, 60))
        before = books(case.run)
        case.expect(driver.running, "the run ended before the network was gone")
        _ip("-n", name, "link", "set", "lo", "down")
        case.injected += 1
        time.sleep(SECONDS)
        _ip("-n", name, "link", "set", "lo", "up")
        done = case.done
        case.complete(driver)
    case.compare(before)
    case.notes.append(f"{done - len(before)} tasks ended while the network was gone")


FAULTS = (
    Fault(
        "partition",
        "no network between scheduler and workers for 60 s (the loopback of a network namespace)",
        "the run recovers or restarts the blocks, and completes; nothing done is redone",
        partition,
    ),
)
