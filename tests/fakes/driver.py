"""Drives slow fake stages on local workers until done, or until killed: `python -m fakes.driver FOLDER`."""

from __future__ import annotations

import sys
from pathlib import Path

from fakes import blocks

from petavox import cluster
from petavox.workflows.execution.loop import Loop
from petavox.workflows.progress import Lines
from petavox.workflows.run_directory.ledger import Ledger
from petavox.workflows.run_directory.lock import locked

LENGTH = 12


def main(folder: Path) -> None:
    stages = blocks.chain(folder, LENGTH, **{stage: {"seconds": 0.25} for stage in "abc"})
    marks = dict.fromkeys("abc", "fingerprint")
    with locked(folder) as lock, Ledger(folder / "ledger.sqlite", check=lock.check) as ledger:
        ledger.begin()
        ledger.adopt((stage.name, LENGTH, marks[stage.name], {}) for stage in stages)
        executor = cluster.start(cluster.ClusterSpec("local", {"cpu": cluster.PoolSpec(2, 10**9)}), blocks.perform)
        result = Loop(stages, marks, ledger, Lines(), backoff=0.1).run(executor)
        executor.close()
    sys.exit(result.failed)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
