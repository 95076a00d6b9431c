"""The whole way from affinities to segments in memory, ours and that of waterz, on the same data, one core each.

    python -m benchmarks.kernels.waterz_chain [--affinities VOLUME] [--shape Z Y X] [--high H …] [--threshold T]

Ours: `petavox.segment` (supervoxels, contacts, mean linkage, relabelling) of uint8 affinities. Theirs: watershed,
region graph, mean agglomeration and relabelling of float32 affinities, which are converted before the clock starts.
Both get the same low, high and threshold. waterz's watershed is another one, so that the segments differ. Ours joins
small supervoxels first, unless told otherwise; waterz has no such step, so ours is measured without it as well.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from ..harness import measure, tiled_affinities
from ..harness.measure import Call

LOW = 0.02
SCORING = "OneMinus<MeanAffinity<RegionGraphType, ScoreValue>>"
LEAST_RATIO = 3.0


def ours(source: Path, raw: Path | None, shape: tuple[int, int, int], high: float, threshold: float) -> Call:
    from petavox import segment

    affinities = tiled_affinities.tiled(source, raw, shape)
    return lambda: summary(segment(affinities, low=LOW, high=high, threshold=threshold))


def ours_unjoined(source: Path, raw: Path | None, shape: tuple[int, int, int], high: float, threshold: float) -> Call:
    from petavox import segment

    affinities = tiled_affinities.tiled(source, raw, shape)
    return lambda: summary(segment(affinities, low=LOW, high=high, threshold=threshold, join_size=0))


def waterz(source: Path, raw: Path | None, shape: tuple[int, int, int], high: float, threshold: float) -> Call:
    affinities = tiled_affinities.tiled(source, raw, shape).astype(np.float32) / np.float32(255)
    return lambda: summary(next(agglomerated(affinities, [threshold], LOW, high)))


def agglomerated(
    affinities: np.ndarray, thresholds: Sequence[float], low: float, high: float, scoring: str = SCORING
) -> Iterator[np.ndarray]:
    """What waterz makes of float32 affinities, one segmentation a threshold, the highest affinity first."""
    from waterz import agglomerate

    scores = sorted(1 - threshold for threshold in thresholds)
    yield from agglomerate(affinities, scores, aff_threshold_low=low, aff_threshold_high=high, scoring_function=scoring)


def summary(segments: np.ndarray) -> dict[str, int]:
    """Something small to compare; costs next to nothing."""
    return {"background": int(segments.size - np.count_nonzero(segments)), "largest_id": int(segments.max())}


TOOLS = {"petavox": ours, "petavox, join_size 0": ours_unjoined, "waterz": waterz}


def main(arguments: list[str] | None = None) -> None:
    parser = measure.parser(__doc__)
    parser.add_argument("--shape", type=int, nargs=3, default=(64, 768, 768), help="mirrored to so many voxels")
    parser.add_argument("--high", type=float, nargs="+", default=(0.995, 0.999), help="of the supervoxels")
    parser.add_argument("--threshold", type=float, default=0.5, help="of the merging")
    settings = parser.parse_args(arguments)
    shape = tuple(settings.shape)
    voxels, rows, targets = int(np.prod(shape)), [], []
    for high in settings.high:
        rates = {}
        for tool, prepare in TOOLS.items():
            prepared = (settings.affinities, settings.raw, shape, high, settings.threshold)
            timing = measure.isolated(prepare, *prepared, repeats=settings.repeats)
            rates[tool] = timing.rate(voxels)
            row = {"high": high, "tool": tool, "voxels": voxels, "seconds": round(timing.median, 3)}
            rows.append({**row, "rate": round(rates[tool], 2), "memory": timing.memory, **timing.result})
        for tool in ("petavox", "petavox, join_size 0"):
            what, ratio = f"{tool} against waterz, high {high}", rates[tool] / rates["waterz"]
            targets.append(measure.target(what, ratio, LEAST_RATIO, "×"))
    measure.write(settings.results, "waterz_chain", vars(settings), rows, targets)


if __name__ == "__main__":
    main()
