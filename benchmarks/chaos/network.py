"""A network between scheduler and workers that is gone for a minute.

The workers are jobs in a network namespace, linked by a pair of virtual devices to the one of the driver, as if on
another machine. `nodes` plays the part of SLURM for them.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from . import nodes
from .case import Case, Fault, UnavailableError
from .driver import GRACE, books

SECONDS = 60.0
WORKERS = """
[cluster.pools.cpu]
memory = "1.8GB"
maximum = 2
"""


@dataclass(frozen=True)
class Node:
    """A machine that is none.

    Args:
        name: of its network namespace, and of the link to it on both sides.
    """

    name: str

    def link(self, state: str) -> None:
        """Set its side of the link "up" or "down"."""
        _ip("-n", self.name, "link", "set", self.name, state)

    def processes(self) -> list[int]:
        done = subprocess.run(["ip", "netns", "pids", self.name], capture_output=True, text=True)
        return [int(line) for line in done.stdout.split()]


@contextlib.contextmanager
def node() -> Iterator[Node]:
    """A network namespace with a link to this one, for as long as the context lasts.

    Raises:
        UnavailableError: this machine has none to give.
    """
    made = Node(f"chaos{os.getpid() % 10**7}")
    _ip("netns", "add", made.name)
    try:
        net = f"10.213.{os.getpid() % 250}"
        _ip("link", "add", made.name, "type", "veth", "peer", "name", made.name, "netns", made.name)
        _ip("address", "add", f"{net}.1/24", "dev", made.name)
        _ip("link", "set", made.name, "up")
        _ip("-n", made.name, "address", "add", f"{net}.2/24", "dev", made.name)
        _ip("-n", made.name, "link", "set", "lo", "up")
        made.link("up")
        yield made
    finally:
        for process in made.processes():
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, 9)
        _ip("netns", "delete", made.name)


def _ip(*words: str) -> None:
    try:
        done = subprocess.run(["ip", *words], capture_output=True, text=True)
    except FileNotFoundError as error:
        raise UnavailableError("network namespaces need `ip`") from error
    if done.returncode:
        raise UnavailableError(f"a network namespace needs root: ip {' '.join(words)}: {done.stderr.strip()}")


def _queue(folder: Path, name: str) -> Path:
    """The folder of the commands that start jobs on a node."""
    commands = folder / "commands"
    (commands / "jobs").mkdir(parents=True)
    (commands / "namespace").write_text(name, encoding="ascii")
    for command in ("sbatch", "squeue", "scancel"):
        text = Path(nodes.__file__).read_text(encoding="utf-8")
        (commands / command).write_text(f"#!{sys.executable} -P\n{text}", encoding="utf-8")
        (commands / command).chmod(0o755)
    return commands


def partition(case: Case) -> None:
    """The link is down for a minute, in the middle of a run."""
    with node() as other:
        commands = _queue(case.folder, other.name)
        case.recipe = case.job.recipe(case.folder, "slurm", f'interface = "{other.name}"\n{WORKERS}')
        driver = case.start(environment={"PATH": f"{commands}:{os.environ['PATH']}"})
        case.well_under_way(driver, more=case.random.randint(5, 60))
        case.expect(driver.running, f"the run ended before the network was gone: {driver.said[-300:]}")
        before = books(case.run)
        other.link("down")
        case.injected += 1
        time.sleep(SECONDS)
        done = case.done
        other.link("up")
        case.complete(driver)
        deadline = time.monotonic() + GRACE
        while other.processes() and time.monotonic() < deadline:
            time.sleep(0.2)
        case.expect(not other.processes(), "workers were left after 60 s")
    case.compare(before)
    case.notes.append(f"{done - sum(entry.done for entry in before.values())} tasks ended while the network was gone")


FAULTS = (
    Fault(
        "partition",
        "no network between scheduler and workers for 60 s (a link to a network namespace)",
        "the run recovers or restarts the blocks, and completes; nothing done is redone",
        partition,
    ),
)
