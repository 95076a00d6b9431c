"""How fast a CPU runs the network at the widths of the paper, and how much of it blockwise inference computes twice.

    python -m benchmarks.kernels.inference [--repeats N]

Plain torch is the network as it is trained, in float32, channels first, one patch a call, or as many as petavox has:
for several, torch takes other kernels. Petavox is the engine that workers predict with, their environment and the batch
of a recipe included, as it is and with `model.compile`. Two cores are two processes, as workers are.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Mapping
from math import prod
from typing import Any

import torch

from petavox.cluster.worker import ENVIRONMENT
from petavox.pipeline.affinities.unet import NetworkConfig, ResidualSymmetricUNet
from petavox.pipeline.geometry import BlockGrid, Box, Triple
from petavox.pipeline.networks.engine import Engine
from petavox.pipeline.networks.patch_grid import Patches
from petavox.workflows.recipes.segmentation_recipe import Model

from ..harness import measure
from ..harness.measure import Call

PATCH: Triple = (18, 160, 160)
BLOCK: Triple = (64, 512, 512)
VOLUMES: tuple[Triple, ...] = ((100, 1024, 1024), (1024, 8192, 8192))
FASTER, EXTRA = 4.5, 1.7


def network() -> ResidualSymmetricUNet:
    torch.manual_seed(0)
    torch.set_num_threads(1)
    return ResidualSymmetricUNet(NetworkConfig()).eval()


def plain(batch: int) -> Call:
    """Torch alone, with nothing done to make it fast."""
    as_trained, patches = network(), torch.randn(batch, 1, *PATCH)

    def call() -> None:
        with torch.inference_mode():
            as_trained(patches).sigmoid()

    return call


def served(batch: int, compiled: bool = False) -> Call:
    """What a worker runs."""
    engine, patches = Engine(network(), 3, "cpu", "float32", 1, batch, compiled), torch.randn(batch, 1, *PATCH)

    def call() -> None:
        engine(patches)

    return call


def compiled(batch: int) -> Call:
    """What a worker runs that has compiled it."""
    return served(batch, compiled=True)


@contextlib.contextmanager
def environment(wanted: Mapping[str, str]) -> Iterator[None]:
    """Of processes that are started meanwhile."""
    before = dict(os.environ)
    os.environ.update(wanted)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def timed(what: str, prepare: Callable[[int], Call], batch: int, cores: int, repeats: int) -> dict[str, Any]:
    seconds = sorted(measure.side_by_side(prepare, [(batch,)] * cores, repeats))[repeats // 2]
    rate = cores * batch * prod(PATCH) / seconds / 1e6
    return {"what": what, "cores": cores, "batch": batch, "seconds": round(seconds, 3), "rate": round(rate, 4)}


def computed(boxes: Iterator[Box]) -> int:
    """Voxels of the patches that these boxes need, each box by itself."""
    grid = Patches(PATCH).over(PATCH)
    return sum(map(grid.computed, boxes))


def extra(volume: Triple) -> dict[str, Any]:
    blocks = BlockGrid(volume, BLOCK)
    over = computed(map(blocks.box, blocks.indices())) / computed(iter([Box.of_shape(volume)]))
    return {"what": f"blocks of {list(BLOCK)} over one array, {list(volume)}", "extra": round(over, 3)}


def main(arguments: list[str] | None = None) -> None:
    parser = measure.parser(__doc__)
    settings = parser.parse_args(arguments)
    batch, rows = Model.model_fields["batch"].default, []
    targets = []
    for cores in (1, 2):
        for together in (1, batch):
            rows.append(timed("plain torch, float32, NCDHW", plain, together, cores, settings.repeats))
        with environment(ENVIRONMENT):
            rows.append(timed("petavox", served, batch, cores, settings.repeats))
            rows.append(timed("petavox, compiled", compiled, batch, cores, settings.repeats))
        one, several, ours, best = (row["rate"] for row in rows[-4:])
        where = f"network of the paper, {cores} cores"
        targets += [
            measure.target(
                f"{where}: petavox against plain torch, {batch} patches a call", ours / several, FASTER, "×"
            ),
            measure.target(f"{where}: compiled, against the same", best / several, FASTER, "×"),
            measure.target(f"{where}: compiled, against plain torch, a patch a call", best / one, FASTER, "×"),
        ]
    overs = [extra(volume) for volume in VOLUMES]
    targets += [
        measure.target(f"voxels computed by {row['what']}", row["extra"], EXTRA, "×", at_least=False) for row in overs
    ]
    measure.write(settings.results, "inference", vars(settings), rows + overs, targets)


if __name__ == "__main__":
    main()
