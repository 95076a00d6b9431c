"""Every kernel alone, on one core, beside what else there is for the same work.

    python -m benchmarks.kernels.kernels [--affinities VOLUME] [--shape Z Y X] [--high H]

Ours run on uint8 affinities of the whole array, kernels loaded. The floors are those of a prototype and go with the
memory bandwidth of the day. Peers get the types that they take, made beforehand; a slow one runs on a crop.
"""

from __future__ import annotations

import argparse
import tempfile
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from petavox import evaluate, segment
from petavox.pipeline.agglomeration.block_graph import as_region, grow_leaf
from petavox.pipeline.agglomeration.contacts import Contacts, Int64s, interior_contacts
from petavox.pipeline.agglomeration.greedy_merging import merge_closed
from petavox.pipeline.agglomeration.octree_node import decide
from petavox.pipeline.agglomeration.rules import MergeRule
from petavox.pipeline.agglomeration.small_supervoxels import JoinRule
from petavox.pipeline.geometry import Box, triple
from petavox.pipeline.segmentation.relabel import relabel
from petavox.pipeline.segmentation.supervoxels import Fragments, label_fragments
from petavox.pipeline.thresholds import Threshold
from petavox.workflows.recipes.segmentation_recipe import Supervoxels

from ..harness import measure, tiled_affinities
from ..harness.measure import Call
from ..harness.peers import CROP, PEERS, Prepare, load

LOW = "0.02"
FLOORS = {"supervoxels": 60, "contacts": 90, "relabel": 1000, "contingency": 200}  # M voxel/s


def fragments(affinities: np.ndarray, high: str) -> Fragments:
    volume = triple(affinities.shape[1:])
    low, high_ = Threshold.parse(LOW), Threshold.parse(high)
    return label_fragments(affinities, Box.of_shape(volume), volume, low, high_)


def prepare_data(source: Path, raw: Path | None, shape: tuple[int, int, int], high: str, work: Path) -> Call:
    """Affinities, supervoxels and two segmentations as arrays in a folder."""

    def make() -> int:
        affinities = tiled_affinities.tiled(source, raw, shape)
        np.save(work / "affinities.npy", affinities)
        np.save(work / "labels.npy", fragments(affinities, high).labels)
        for name, threshold in (("truth", "0.3"), ("segments", "0.7")):
            np.save(work / f"{name}.npy", segment(affinities, low=LOW, high=high, threshold=threshold))
        return 0

    return make


# Ours: from the folder of data to the call that is timed.


def supervoxels(work: Path, high: str) -> Call:
    (affinities,) = load(work, "affinities")
    return lambda: {"supervoxels": len(fragments(affinities, high).ids)}


def contacts(work: Path, high: str) -> Call:
    affinities, labels = load(work, "affinities", "labels")
    volume = triple(labels.shape)
    return lambda: {"contacts": len(interior_contacts(labels, affinities, Box.of_shape(volume), volume))}


def graph(work: Path) -> tuple[Contacts, Int64s]:
    """The contact graph of the whole array, and the sizes of its nodes."""
    affinities, labels = load(work, "affinities", "labels")
    volume = triple(labels.shape)
    found = interior_contacts(labels, affinities, Box.of_shape(volume), volume)
    return found, np.bincount(labels.reshape(-1))[1:].astype(np.int64)


def linkage(work: Path, high: str) -> Call:
    (found, sizes), rule = graph(work), MergeRule(Threshold.parse("0.5"))
    nowhere = np.zeros(len(sizes), dtype=np.bool_)

    def call() -> dict[str, int]:
        merges = merge_closed(found, sizes, nowhere, nowhere, rule)
        return {"contacts": len(found), "merges": len(merges.a)}

    return call


def joining(work: Path, high: str) -> Call:
    (found, sizes), merge = graph(work), partial(merge_closed, rule=MergeRule(Threshold.parse("0.5")))
    ids, nowhere = np.arange(1, len(sizes) + 1, dtype=np.uint64), np.zeros(len(sizes), dtype=np.uint8)
    join = JoinRule(Supervoxels().join_size, Threshold.parse(Supervoxels().join_affinity))

    def call() -> dict[str, int]:
        leaf, _ = grow_leaf(ids, sizes, found, nowhere, join)
        decision = decide([as_region(leaf, {})[0]], [], join, merge)
        return {"contacts": len(found), "clusters": len(leaf.ids), "segments": len(decision.segments)}

    return call


def relabelling(work: Path, high: str) -> Call:
    (labels,) = load(work, "labels")
    table = np.arange(labels.max() + 1, dtype=np.uint64) // np.uint64(3)
    return lambda: relabel(labels, table)


def contingency(work: Path, high: str) -> Call:
    segments, truth = load(work, "segments", "truth")
    return lambda: {"adapted_rand_error": evaluate(segments, truth).adapted_rand_error}


OURS: dict[str, Prepare] = {
    "supervoxels": supervoxels,
    "contacts": contacts,
    "linkage": linkage,
    "joining + linkage": joining,
    "relabel": relabelling,
    "contingency": contingency,
}


def row(
    work: Path, settings: argparse.Namespace, kernel: str, tool: str, prepare: Prepare, crop: bool
) -> dict[str, Any]:
    voxels = int(
        np.prod([min(s.stop, n) for s, n in zip(CROP, settings.shape, strict=True)] if crop else settings.shape)
    )
    found: dict[str, Any] = {"kernel": kernel, "tool": tool, "voxels": voxels}
    try:
        timing = measure.isolated(prepare, work, settings.high, repeats=settings.repeats)
    except (ImportError, MemoryError, BrokenProcessPool) as error:
        return {**found, "error": f"{type(error).__name__}: {error}"}
    seconds, rate = round(timing.median, 4), round(timing.rate(voxels), 2)
    return {**found, "seconds": seconds, "rate": rate, "memory": timing.memory, **(timing.result or {})}


def main(arguments: list[str] | None = None) -> None:
    parser = measure.parser(__doc__)
    parser.add_argument("--shape", type=int, nargs=3, default=(64, 768, 768), help="mirrored to so many voxels")
    parser.add_argument("--high", default="0.995", help="of the supervoxels")
    settings = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="petavox-bench-") as folder:
        work = Path(folder)
        data = (settings.affinities, settings.raw, tuple(settings.shape))
        measure.isolated(prepare_data, *data, settings.high, work, repeats=0)
        wanted = [(kernel, "petavox", prepare, False) for kernel, prepare in OURS.items()] + list(PEERS)
        rows = [row(work, settings, *which) for which in wanted]
    bandwidth = measure.bandwidth()
    share = bandwidth / measure.BANDWIDTH_OF_THE_FLOORS
    rates = {found["kernel"]: found["rate"] for found in rows if found["tool"] == "petavox"}
    targets = [
        measure.target(f"{kernel} alone, one core", rates[kernel], round(floor * share, 1), " M voxel/s")
        for kernel, floor in FLOORS.items()
    ]
    measure.write(settings.results, "kernels", vars(settings), rows, targets, bandwidth=bandwidth)


if __name__ == "__main__":
    main()
