"""Every kernel alone, on one core, beside what else there is for the same work.

    python benchmarks/kernels.py [--affinities VOLUME] [--shape Z Y X] [--high H]

Ours run on uint8 affinities of the whole array, kernels loaded. The floors are those of a prototype and go with the
memory bandwidth of the day. Peers get the types that they take, made beforehand; a slow one runs on a crop.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

import measure
import numpy as np
import tiles
from measure import Call

from petavox import evaluate, segment
from petavox.pipeline.agglomeration.contacts import interior_contacts
from petavox.pipeline.geometry import Box, triple
from petavox.pipeline.segmentation.relabel import relabel
from petavox.pipeline.segmentation.supervoxels import Fragments, label_fragments
from petavox.pipeline.thresholds import Threshold

CROP = (slice(0, 32), slice(0, 256), slice(0, 256))
LOW = "0.02"
FLOORS = {"supervoxels": 60, "contacts": 90, "relabel": 1000, "contingency": 200}  # M voxel/s


def fragments(affinities: np.ndarray, high: str) -> Fragments:
    volume = triple(affinities.shape[1:])
    low, high_ = Threshold.parse(LOW), Threshold.parse(high)
    return label_fragments(affinities, Box.of_shape(volume), volume, low, high_)


def prepare_data(source: Path, raw: Path | None, shape: tuple[int, int, int], high: str, work: Path) -> Call:
    """Affinities, supervoxels and two segmentations as arrays in a folder."""

    def make() -> int:
        affinities = tiles.tiled(source, raw, shape)
        np.save(work / "affinities.npy", affinities)
        np.save(work / "labels.npy", fragments(affinities, high).labels)
        for name, threshold in (("truth", "0.3"), ("segments", "0.7")):
            np.save(work / f"{name}.npy", segment(affinities, low=LOW, high=high, threshold=threshold))
        return 0

    return make


def load(work: Path, *names: str) -> list[np.ndarray]:
    return [np.load(work / f"{name}.npy") for name in names]


# --- ours: from the folder of data to the call that is timed ----------------------------------------------------------


def supervoxels(work: Path, high: str) -> Call:
    (affinities,) = load(work, "affinities")
    return lambda: {"supervoxels": len(fragments(affinities, high).ids)}


def contacts(work: Path, high: str) -> Call:
    affinities, labels = load(work, "affinities", "labels")
    volume = triple(labels.shape)
    return lambda: {"contacts": len(interior_contacts(labels, affinities, Box.of_shape(volume), volume))}


def linkage(work: Path, high: str) -> Call:
    from petavox.pipeline.agglomeration.linkage import MergeRule, merge_closed

    affinities, labels = load(work, "affinities", "labels")
    volume = triple(labels.shape)
    found = interior_contacts(labels, affinities, Box.of_shape(volume), volume)
    sizes = np.bincount(labels.reshape(-1))[1:].astype(np.int64)
    closed, rule = np.zeros(len(sizes), dtype=np.bool_), MergeRule(Threshold.parse("0.5"))
    return lambda: {"contacts": len(found), "merges": len(merge_closed(found, sizes, closed, rule).a)}


def relabelling(work: Path, high: str) -> Call:
    (labels,) = load(work, "labels")
    table = np.arange(labels.max() + 1, dtype=np.uint64) // np.uint64(3)
    return lambda: relabel(labels, table)


def contingency(work: Path, high: str) -> Call:
    segments, truth = load(work, "segments", "truth")
    return lambda: {"adapted_rand_error": evaluate(segments, truth).adapted_rand_error}


# --- peers ------------------------------------------------------------------------------------------------------------


def skimage_watershed(work: Path, high: str) -> Call:
    from skimage.segmentation import watershed

    boundary = 255 - load(work, "affinities")[0][:, *CROP].min(axis=0)
    return lambda: {"supervoxels": int(watershed(boundary).max())}


def scipy_components(work: Path, high: str) -> Call:
    from scipy.ndimage import label

    inside = load(work, "affinities")[0].min(axis=0) >= 128
    return lambda: {"components": int(label(inside)[1])}


def bioimage_features(work: Path, high: str) -> Call:
    from bioimage_cpp.graph import features, region_adjacency_graph

    affinities, labels = load(work, "affinities", "labels")
    scaled = affinities.astype(np.float32) / np.float32(255)

    def call() -> dict[str, int]:
        graph = region_adjacency_graph(labels, number_of_threads=1)
        offsets = [(-1, 0, 0), (0, -1, 0), (0, 0, -1)]
        return {"contacts": len(features.affinity_features(graph, labels, scaled, offsets, number_of_threads=1))}

    return call


def numpy_take(work: Path, high: str) -> Call:
    (labels,) = load(work, "labels")
    table = np.arange(labels.max() + 1, dtype=np.uint64) // np.uint64(3)
    return lambda: table[labels]


def skimage_scores(work: Path, high: str) -> Call:
    from skimage.metrics import adapted_rand_error, variation_of_information

    segments, truth = (array.astype(np.int64) for array in load(work, "segments", "truth"))

    def call() -> dict[str, float]:
        variation_of_information(truth, segments)
        return {"adapted_rand_error": float(adapted_rand_error(truth, segments)[0])}

    return call


Prepare = Callable[[Path, str], Call]
OURS: dict[str, Prepare] = {
    "supervoxels": supervoxels,
    "contacts": contacts,
    "linkage": linkage,
    "relabel": relabelling,
    "contingency": contingency,
}
PEERS: tuple[tuple[str, str, Prepare, bool], ...] = (
    ("supervoxels", "scikit-image watershed, crop", skimage_watershed, True),
    ("supervoxels", "scipy connected components of affinity ≥ 0.5", scipy_components, False),
    ("contacts", "bioimage-cpp region graph + affinity features", bioimage_features, False),
    ("relabel", "numpy table[labels]", numpy_take, False),
    ("contingency", "scikit-image Rand + VOI, labels from 1 as they are", skimage_scores, False),
)


def row(
    work: Path, settings: argparse.Namespace, kernel: str, tool: str, prepare: Prepare, crop: bool
) -> dict[str, Any]:
    voxels = int(np.prod([s.stop for s in CROP] if crop else settings.shape))
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
    share = measure.bandwidth() / measure.BANDWIDTH_OF_THE_FLOORS
    rates = {found["kernel"]: found["rate"] for found in rows if found["tool"] == "petavox"}
    targets = [
        measure.target(f"{kernel} alone, one core", rates[kernel], round(floor * share, 1), " M voxel/s")
        for kernel, floor in FLOORS.items()
    ]
    measure.write(settings.results, "kernels", vars(settings), rows, targets)


if __name__ == "__main__":
    main()
