"""How good a network's affinities are in a labelled box, and the segmentations that different ways make of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import torch
from numpy.typing import NDArray
from torch import Tensor

from petavox.pipeline.affinities.offsets import NEAREST, Offsets
from petavox.pipeline.affinities.prediction import Inference, Predictor, batched
from petavox.pipeline.affinities.sampling import TrainingVolume
from petavox.pipeline.affinities.targets import affinity_targets
from petavox.pipeline.affinities.unet import NetworkConfig, ResidualSymmetricUNet
from petavox.pipeline.affinities.variants import Combine, predict_variants, variants_of
from petavox.pipeline.agglomeration.contacts import interior_contacts
from petavox.pipeline.agglomeration.multicut import merge_multicut
from petavox.pipeline.agglomeration.rules import AgglomerationRule, MulticutRule
from petavox.pipeline.agglomeration.small_supervoxels import JoinRule
from petavox.pipeline.evaluation.contingency import Contingency, count
from petavox.pipeline.evaluation.scores import Scores, score
from petavox.pipeline.geometry import Box, Triple, triple
from petavox.pipeline.networks.orientations import Count
from petavox.pipeline.networks.read_ahead import reading
from petavox.pipeline.segment import SegmentGraph, falling_thresholds, oversegment
from petavox.pipeline.segmentation.mutex import label_mutex_fragments
from petavox.pipeline.thresholds import Threshold

Row = dict[str, Any]
Affinities = NDArray[np.uint8]
Weights = Mapping[str, Tensor]

LOW = Threshold.parse("0.02")
HIGHS = ("0.95", "0.99")
THRESHOLDS = tuple(f"0.{k}" for k in range(1, 10))
JOIN = JoinRule(100, Threshold.parse("0.3"))
LEVELS = 64
STRIDES: Triple = (2, 2, 2)
BATCH = 2  # from two patches on torch takes faster kernels on a single thread
WAYS: tuple[tuple[Count, Combine], ...] = (
    *((1, "mean"), (4, "mean"), (8, "mean"), (16, "mean")),
    *((4, "min"), (8, "min"), (16, "min")),
)


def weights(state: Path, which: str) -> Weights:
    """Those of a training's state: "model" as they are after the last step, "average" their moving average."""
    with safetensors.safe_open(state, framework="pt") as file:
        names = [name for name in file.keys() if name.startswith(f"{which}.")]  # noqa: SIM118
        return {name.partition(".")[2]: file.get_tensor(name) for name in names}


@dataclass(frozen=True)
class Place:
    """A box of a volume, and the patches that it is predicted in, with the image around it.

    Args:
        volume: the image.
        box: what is predicted.
        patch: shape of a patch.
    """

    volume: TrainingVolume
    box: Box
    patch: Triple

    def predicted(
        self, config: NetworkConfig, kept: Weights, variants: Count = 1, combine: Combine = "mean"
    ) -> Affinities:
        """Nearest-neighbour affinities (3, Z, Y, X) of the box, as `petavox predict` makes them."""
        shape = triple(self.volume.image.shape)
        predictor = self._predictor(config, kept, variants, combine)
        return predictor.predict(self.volume.read, shape, self.box, self.box.shape[0])

    def long_range(self, config: NetworkConfig, kept: Weights) -> tuple[Affinities, Offsets]:
        """The other affinities (C, Z, Y, X) of the box, three channels at a time, and their offsets."""
        parts = [config.offsets[start : start + 3] for start in range(3, len(config.offsets), 3)]
        found = [self.predicted(*with_offsets(config, kept, part)) for part in parts]
        return np.concatenate(found), config.offsets[3:]

    def looked_at(self, config: NetworkConfig, kept: Weights) -> dict[str, Affinities]:
        """Affinities of the box for each of `WAYS`, each orientation of a patch computed once for all of them."""
        predictor = self._predictor(config, kept, 1, "mean")
        totals = {way: torch.zeros((3, *self.box.shape)) for way in WAYS}
        shape, depth = triple(self.volume.image.shape), self.box.shape[0]
        grid = predictor.patches.over(shape)
        indices = list(grid.touching(self.box))
        with reading(self.volume.read, shape, [grid.box(i) for i in indices], depth, predictor.device) as image:
            for together in batched(iter(indices), BATCH):
                patches = torch.zeros((BATCH, 1, *self.patch))
                for patch, index in zip(patches, together, strict=False):
                    patch[0] = self.volume.normalisation.apply(image.patch(grid.box(index)))
                answers = Remembered(predictor.engine)
                for (variants, combine), total in totals.items():
                    found = predict_variants(answers.from_the_first(), patches, variants_of(variants), NEAREST, combine)
                    for affinities, index in zip(found, together, strict=False):
                        predictor.add(total, affinities, index, grid, self.box)
        grey_levels = {way: total.mul_(255).round_().clamp_(0, 255).to(torch.uint8) for way, total in totals.items()}
        return {f"{variants} {combine}": found.numpy() for (variants, combine), found in grey_levels.items()}

    def _predictor(self, config: NetworkConfig, kept: Weights, variants: Count, combine: Combine) -> Predictor:
        module = ResidualSymmetricUNet(config)
        module.load_state_dict(dict(kept))
        inference = Inference(
            patch=self.patch,
            normalisation=self.volume.normalisation,
            batch=BATCH,
            device="cpu",
            variants=variants,
            combine=combine,
        )
        return Predictor(module.eval(), inference)


class Remembered:
    """Answers of a network, in the order in which they are asked for: 4 variants are the first 4 of 8, these of 16."""

    def __init__(self, network: Callable[[Tensor], Tensor]) -> None:
        self._network = network
        self._answers: list[Tensor] = []

    def from_the_first(self) -> Callable[[Tensor], Tensor]:
        """A network that gives them again; each time a copy, for `look` changes what it is given."""
        asked = iter(range(len(variants_of(16))))

        def answer(patches: Tensor) -> Tensor:
            number = next(asked)
            if number == len(self._answers):
                self._answers.append(self._network(patches))
            return self._answers[number].clone()

        return answer


def with_offsets(config: NetworkConfig, kept: Weights, offsets: Offsets) -> tuple[NetworkConfig, Weights]:
    """A network that answers for some of its offsets alone."""
    size = int(np.prod(config.stride))
    rows = [config.offsets.index(offset) * size + k for offset in offsets for k in range(size)]
    fewer = config.model_copy(update={"offsets": offsets, "descriptors": None})
    return fewer, {name: value[rows] if name.startswith("head.") else value for name, value in kept.items()}


def scores(affinities: Affinities, truth: NDArray[np.integer]) -> Row:
    """Of affinities (3, Z, Y, X) by labels (Z, Y, X): the affinities themselves, and segments by mean linkage."""
    found = list(zip(*(voxel_scores(*pair) for pair in zip(affinities, targets(truth), strict=True)), strict=True))
    accuracy, area = (round(sum(values) / len(values), 5) for values in found)
    trials = [trial for high in HIGHS for trial in by_linkage(affinities, truth, high, None)]
    return {"accuracy": accuracy, "area": area, **best_of(trials)}


def targets(truth: NDArray[np.integer]) -> NDArray[np.uint8]:
    return affinity_targets(torch.from_numpy(truth.astype(np.int32)), NEAREST).numpy()


def voxel_scores(affinities: Affinities, wanted: NDArray[np.uint8]) -> tuple[float, float]:
    """Of one channel: balanced accuracy at 0.5, and the area under the ROC curve, which no threshold enters."""
    joined, apart = (np.bincount(affinities[wanted == answer], minlength=256) for answer in (1, 0))
    joined, apart = joined / max(joined.sum(), 1), apart / max(apart.sum(), 1)
    accuracy = (joined[128:].sum() + apart[:128].sum()) / 2
    below = np.cumsum(apart) - apart
    return float(accuracy), float((joined * (below + apart / 2)).sum())


Trial = tuple[str, str, Scores]
"""high, threshold, and how wrong the segmentation by these is."""


def best_of(trials: Sequence[Trial]) -> Row:
    """The lowest error of all, its surroundings, and the errors of each high in the order of `THRESHOLDS`."""
    errors = {(high, threshold): found.adapted_rand_error for high, threshold, found in trials}
    high, threshold, best = min(trials, key=lambda trial: trial[2].adapted_rand_error)
    near = slice(max(0, THRESHOLDS.index(threshold) - 1), THRESHOLDS.index(threshold) + 2)
    around = [errors[high, other] for other in THRESHOLDS[near]]
    return {
        "error": round(best.adapted_rand_error, 5),
        "voi": round(best.voi_split + best.voi_merge, 4),
        "around": round(sum(around) / len(around), 5),
        "cremi": round(min(found.cremi_score for _, _, found in trials), 5),
        "high": high,
        "threshold": threshold,
        "errors": {
            high: [round(errors[high, t], 5) for t in THRESHOLDS] for high in dict.fromkeys(h for h, _ in errors)
        },
    }


def linkages(
    affinities: Affinities, long_range: tuple[Affinities, Offsets], truth: NDArray[np.integer]
) -> Iterator[tuple[str, list[Trial]]]:
    """What every way to agglomerate makes of the same affinities, over the same grid."""

    def over(way: Callable[[str], Iterator[Trial]]) -> list[Trial]:
        return [trial for high in HIGHS for trial in way(high)]

    yield "mean", over(lambda high: by_linkage(affinities, truth, high, None))
    yield "quantile 0.5", over(lambda high: by_linkage(affinities, truth, high, "0.5"))
    yield "quantile 0.85", over(lambda high: by_linkage(affinities, truth, high, "0.85"))
    yield "multicut", over(lambda high: by_multicut(affinities, truth, high))
    yield "mutex watershed, then mean", list(by_mutex(affinities, *long_range, truth))


def by_linkage(affinities: Affinities, truth: NDArray[np.integer], high: str, quantile: str | None) -> Iterator[Trial]:
    fragments, contacts = oversegment(affinities, LOW, Threshold.parse(high), LEVELS if quantile else 0)
    graph = SegmentGraph.of_fragments(fragments, contacts, JOIN)
    yield from cuts(graph, count(truth, fragments.labels), high, quantile)


def cuts(graph: SegmentGraph, table: Contingency, high: str, quantile: str | None) -> Iterator[Trial]:
    linkage = {} if quantile is None else {"linkage": "quantile", "quantile": quantile, "levels": LEVELS}
    names = {AgglomerationRule.of(threshold=threshold, **linkage): threshold for threshold in THRESHOLDS}
    for rule, found in falling_thresholds(graph, table, names):
        yield high, names[rule], score(found)


def by_multicut(affinities: Affinities, truth: NDArray[np.integer], high: str) -> Iterator[Trial]:
    """Thresholds are the affinities above which a contact attracts."""
    fragments, contacts = oversegment(affinities, LOW, Threshold.parse(high))
    graph = SegmentGraph.of_fragments(fragments, contacts, JOIN)
    table, closed = count(truth, fragments.labels), np.zeros(len(graph.ids), dtype=np.bool_)
    for threshold in THRESHOLDS:
        merged = merge_multicut(graph.contacts, graph.sizes, closed, closed, MulticutRule(float(threshold)))
        segments = np.concatenate([[0], merged.node[graph.segment_of] + 1]).astype(np.uint64)
        yield high, threshold, score(table.of_coarser_segments(segments))


def by_mutex(
    affinities: Affinities, long_range: Affinities, offsets: Offsets, truth: NDArray[np.integer]
) -> Iterator[Trial]:
    """Supervoxels by the mutex watershed, which has no high in one block; they are merged by mean affinity."""
    box, volume, top = Box.of_shape(truth.shape), triple(truth.shape), Threshold.parse("1")
    nearest = np.ascontiguousarray(affinities)
    fragments = label_mutex_fragments(nearest, long_range, offsets, box, volume, LOW, top, STRIDES)
    contacts = interior_contacts(fragments.labels, nearest, box, volume, 0)
    graph = SegmentGraph.of_fragments(fragments, contacts, JOIN)
    yield from cuts(graph, count(truth, fragments.labels), "–", None)


def in_words(row: Row) -> str:
    return (
        f"balanced accuracy {row['accuracy']:.4f}, area {row['area']:.4f}, error {row['error']:.4f}"
        f" at {row['threshold']} after {row['high']}, √(VOI · error) {row['cremi']:.4f}"
    )
