"""A driver with workers on SLURM that only waits to be killed: `python -m fakes.cluster_driver FOLDER`."""

from __future__ import annotations

import sys
from pathlib import Path

from fakes.calls import call

from petavox import cluster
from petavox.cluster.batch.jobs import Jobs


def main(folder: Path) -> None:
    # More jobs than there is room for: some of them wait.
    jobs = Jobs(partition="gpu", cores=4, memory="600MB", walltime="1h", minimum=2, maximum=2)
    executor = cluster.start(cluster.ClusterSpec("slurm", {"cpu": jobs}, folder), call)
    while not executor.capacity()["cpu"]:
        executor.completed(0.5)
    executor.submit(0, "cpu", "sleep", 600)
    (folder / "busy").touch()
    while True:
        executor.completed(1.0)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
