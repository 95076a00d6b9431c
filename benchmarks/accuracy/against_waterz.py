"""Adapted Rand error against waterz from the same affinities: parameters chosen on one half, scored on the other.

    python -m benchmarks.accuracy.against_waterz [--affinities VOLUME] [--truth VOLUME] [--axis 0|1|2]

The box of the truth (its metadata say where it lies) is cut in two along an axis, and each half is segmented alone, so
that nothing of the scored half is known when low, high, threshold and variant are chosen. Every variant of both tools
gets the same grid of low, high and thresholds, and all are scored by `petavox.evaluate`.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np

from petavox import evaluate, segment
from petavox.pipeline.errors import RequestError
from petavox.pipeline.geometry import Box
from petavox.pipeline.volumes import open_volume

from ..harness import measure, tiled_affinities
from ..harness.measure import Call
from ..kernels.waterz_chain import SCORING, agglomerated

MOST_WORSE = 0.002

Segmentations = Iterator[tuple[float, np.ndarray]]


def ours(affinities: np.ndarray, low: float, high: float, thresholds: Sequence[float], **options: Any) -> Segmentations:
    """(threshold, segments) for every threshold."""
    for threshold in thresholds:
        yield threshold, segment(affinities, low=low, high=high, threshold=threshold, **options)


def waterz(affinities: np.ndarray, low: float, high: float, thresholds: Sequence[float], scoring: str) -> Segmentations:
    """(threshold, segments) for every threshold, the highest first."""
    scaled = affinities.astype(np.float32) / np.float32(255)
    yield from zip(sorted(thresholds, reverse=True), agglomerated(scaled, thresholds, low, high, scoring), strict=True)


def waterz_quantile(percent: int) -> str:
    return f"OneMinus<HistogramQuantileAffinity<RegionGraphType,{percent},ScoreValue,256,false>>"


VARIANTS: dict[tuple[str, str], Callable[..., Segmentations]] = {
    ("petavox", "mean"): ours,
    ("petavox", "mean, join_size 0"): partial(ours, join_size=0),
    ("petavox", "mean, segments below 600 voxels from 0.1 on"): partial(ours, small_size=600, small_threshold=0.1),
    ("petavox", "quantile 0.85"): partial(ours, linkage="quantile", quantile=0.85),
    ("petavox", "quantile 0.5"): partial(ours, linkage="quantile", quantile=0.5),
    ("waterz", "mean"): partial(waterz, scoring=SCORING),
    ("waterz", "quantile 0.85"): partial(waterz, scoring=waterz_quantile(85)),
    ("waterz", "quantile 0.5"): partial(waterz, scoring=waterz_quantile(50)),
}


def halves(source: Path, truth: Path, axis: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """(affinities, truth) of the two halves of the truth's box."""
    affinities, true = open_volume(source).spec, open_volume(truth)
    steps = np.subtract(true.spec.translation, affinities.translation) / affinities.voxel_size
    box = Box.of_shape(true.spec.shape, np.rint(steps).astype(int))
    grey, labels = tiled_affinities.read(source)[:, *box.slices()], true.read(true.spec.box)
    middle = labels.shape[axis] // 2
    parts = (slice(None, middle), slice(middle, None))
    where = [tuple(part if k == axis else slice(None) for k in range(3)) for part in parts]
    return [(np.ascontiguousarray(grey[:, *here]), labels[here]) for here in where]


def tuned(settings: argparse.Namespace, variant: tuple[str, str]) -> Call:
    """Choose low, high and threshold of a variant on the first half, and score them on the second."""
    (affinities, truth), (other_affinities, other_truth) = halves(settings.affinities, settings.truth, settings.axis)
    make = VARIANTS[variant]

    def call() -> dict[str, Any]:
        best = (2.0, 0.0, 0.0, 0.0)
        for low, high in itertools.product(settings.low, settings.high):
            for threshold, segments in make(affinities, low, high, settings.thresholds):
                best = min(best, (evaluate(segments, truth).adapted_rand_error, low, high, threshold))
        error, low, high, threshold = best
        ((_, segments),) = make(other_affinities, low, high, [threshold])
        scores = evaluate(segments, other_truth)
        found = {"low": low, "high": high, "threshold": threshold, "error_tuning_half": error}
        names = ("adapted_rand_error", "voi_split", "voi_merge", "segments")
        return found | {name: getattr(scores, name) for name in names}

    return call


def row(settings: argparse.Namespace, core: int, variant: tuple[str, str]) -> dict[str, Any]:
    found = {"tool": variant[0], "linkage": variant[1]}
    try:
        return found | measure.isolated(tuned, settings, variant, repeats=0, core=core).result
    except (RequestError, TypeError, BrokenProcessPool) as error:  # such as a linkage that a version does not have
        return {**found, "error": f"{type(error).__name__}: {error}"}


def worse(rows: Sequence[dict[str, Any]]) -> float:
    """How much worse ours is than waterz on the scored half, each with what was best on the tuning half."""
    best = itemgetter("error_tuning_half")
    us, them = (min((row for row in rows if row["tool"] == tool), key=best) for tool in ("petavox", "waterz"))
    return us["adapted_rand_error"] - them["adapted_rand_error"]


def main(arguments: list[str] | None = None) -> None:
    parser = measure.parser(__doc__)
    parser.add_argument("--truth", type=Path, default=Path("demo/truth.zarr"))
    parser.add_argument("--axis", type=int, default=2, choices=(0, 1, 2), help="along which the truth is cut in two")
    parser.add_argument("--low", type=float, nargs="+", default=(0.02, 0.05))
    parser.add_argument("--high", type=float, nargs="+", default=(0.95, 0.99, 0.995, 0.999, 0.9999))
    parser.add_argument("--thresholds", type=float, nargs="+", default=[k / 20 for k in range(2, 19)])
    settings = parser.parse_args(arguments)
    with ThreadPoolExecutor(2) as threads:  # nothing is timed here
        rows = list(threads.map(partial(row, settings), itertools.cycle((0, 1)), VARIANTS))
    measured = [found for found in rows if "error" not in found]

    targets = [
        measure.target(
            "adapted Rand error − that of waterz, best linkage each", worse(measured), MOST_WORSE, at_least=False
        ),
        measure.target(
            "adapted Rand error − that of waterz, mean linkage alone",
            worse([found for found in measured if found["linkage"] == "mean"]),
            MOST_WORSE,
            at_least=False,
        ),
    ]
    measure.write(settings.results, "accuracy", vars(settings), rows, targets)


if __name__ == "__main__":
    main()
