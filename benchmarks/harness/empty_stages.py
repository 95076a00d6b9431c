"""A run whose blocks take no time: five stages through the real run loop, ledger and local workers.

    python -m benchmarks.harness.empty_stages DIRECTORY [--blocks N] [--workers N] [--stop N]

Works in DIRECTORY as `petavox run` would, and continues what it finds there. Prints a line of JSON when the first
block is done, at every tenth of the way, and when it stops: blocks done, seconds since the process began, bytes that it
holds.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import psutil

from petavox import cluster
from petavox.pipeline.geometry import Triple
from petavox.tasks.contract import Outcome, TaskConfig
from petavox.workflows.execution import attempt
from petavox.workflows.execution.loop import Loop
from petavox.workflows.run_directory.ledger import Ledger
from petavox.workflows.stages.stage import Stage
from petavox.workflows.time_left import Outlook

STAGES = 5
FINGERPRINT = "nothing"


class Config(TaskConfig):
    """There is nothing to say."""


def run(config: Config, index: Triple) -> Outcome:
    """Do nothing to a block."""
    return Outcome(voxels=1)


def perform(task: str, config: str, indices: Sequence[Triple], terms: attempt.Terms) -> attempt.CallReport:
    """What workers run: as always, but the task is in this module."""
    return attempt.measure(sys.modules[__name__], config, indices, terms)


def neighbours(index: Triple) -> Iterator[Triple]:
    """A block, and the block before it along each axis, as faces need them."""
    yield index
    for axis in range(3):
        if index[axis]:
            z, y, x = (i - (k == axis) for k, i in enumerate(index))
            yield z, y, x


def stages(blocks: int) -> list[Stage]:
    """So many blocks in all, each stage needing the one before."""
    grid = (blocks // STAGES // 1600, 40, 40)
    return [
        Stage(str(k), "nothing", 1, Config(), grid, {str(k - 1): neighbours} if k else {}, outputs=())
        for k in range(STAGES)
    ]


class Lines:
    """A progress that tells of memory, and stops the run when so many blocks are done."""

    def __init__(self, stop: int) -> None:
        self._stop = stop
        self._done = self._before = self._total = 0

    def working(self, parts: Mapping[str, float]) -> None:
        return

    def begin(self, stages: Sequence[tuple[str, int, int]], _: Outlook) -> None:
        self._total = sum(total for _, total, _ in stages)
        self._done = self._before = sum(done for _, _, done in stages)

    def advance(self, stage: str, count: int = 1, *, failed: bool = False) -> None:
        tenth = self._total // 10
        told = self._done // tenth
        if self._done == self._before:
            self.tell("first")
        self._done += count
        if self._done // tenth > told:
            self.tell("tenth")
        if self._done >= self._stop:
            self.tell("stop")
            raise KeyboardInterrupt

    def tell(self, what: str) -> None:
        process = psutil.Process()
        line = {"what": what, "done": self._done, "seconds": time.time() - process.create_time()}
        print(json.dumps(line | {"bytes": process.memory_info().rss}), flush=True)

    def note(self, text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    def close(self) -> None:
        return


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", type=Path)
    parser.add_argument("--blocks", type=int, default=10**6)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--stop", type=int, default=10**9, help="when so many blocks are done")
    settings = parser.parse_args()
    settings.directory.mkdir(parents=True, exist_ok=True)
    made = stages(settings.blocks)
    marks = {stage.name: FINGERPRINT for stage in made}
    spec = cluster.ClusterSpec("local", {"cpu": cluster.PoolSpec(settings.workers, 10**9)}, settings.directory)
    with Ledger(settings.directory / "ledger.sqlite") as ledger:
        ledger.begin()
        ledger.adopt((stage.name, len(stage), FINGERPRINT, {}) for stage in made)
        from . import empty_stages  # as a script this file is "__main__", which is another module in workers

        executor = cluster.start(spec, empty_stages.perform)
        try:
            loop = Loop(made, marks, ledger, Lines(settings.stop), hangs=settings.directory / "hangs")
            result = loop.run(executor)
            sys.exit(result.failed)
        except KeyboardInterrupt:
            sys.exit(0)
        finally:
            executor.close()


if __name__ == "__main__":
    main()
