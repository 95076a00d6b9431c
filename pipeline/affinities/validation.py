"""Judges a network while it trains: the validation boxes are segmented by the affinities that it predicts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt, PositiveInt
from torch import Tensor

from ..errors import RequestError
from ..geometry import Box, Triple, triple
from ..labels import object_ids
from ..networks.patch_grid import Patches
from .network_config import NetworkConfig
from .prediction import Inference, Predictor
from .sampling import TrainingVolume
from .unet import ResidualSymmetricUNet

Share = float


class ScoringConfig(BaseModel):
    """Says how validation boxes are segmented: the same way all the time, so that steps can be compared.

    Args:
        shape: Shape of the part of each validation box that is segmented, in its middle, in voxels.
        low: Value of `supervoxels.low`.
        high: Value of `supervoxels.high`.
        join_size: Value of `supervoxels.join_size`.
        join_affinity: Value of `supervoxels.join_affinity`.
        thresholds: Values of `agglomeration.threshold`, with mean linkage. The best of them counts.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    shape: tuple[PositiveInt, PositiveInt, PositiveInt] = (32, 256, 256)
    low: Share = Field(default=0.05, ge=0, le=1)
    high: Share = Field(default=0.99, ge=0, le=1)
    join_size: NonNegativeInt = 100
    join_affinity: Share = Field(default=0.3, ge=0, le=1)
    thresholds: tuple[Share, ...] = Field(default=(0.3, 0.5, 0.7), min_length=1)


class Scored(Protocol):
    """Holds the scores of a segmentation that validation looks at."""

    @property
    def adapted_rand_error(self) -> float: ...
    @property
    def voi_split(self) -> float: ...
    @property
    def voi_merge(self) -> float: ...
    @property
    def cremi_score(self) -> float: ...


Judge = Callable[[NDArray[np.uint8], NDArray[np.integer], ScoringConfig], Sequence[Scored]]
"""Segments affinities (3, Z, Y, X), and scores that by labels (Z, Y, X), 0 where there are none: one score for each
threshold, the highest first."""


@dataclass(frozen=True)
class Best:
    """Keeps the weights with the best validation score so far.

    Args:
        score: validation score, see `SegmentationValidation`; 0 is perfect.
        step: number of steps that the weights have seen.
        weights: on the CPU.
    """

    score: float
    step: int
    weights: Mapping[str, Tensor]


class SegmentationValidation:
    """Predicts, segments and scores the validation boxes of some volumes.

    Args:
        volumes: with their validation boxes.
        scoring: rule by which the boxes are segmented.
        judge: does that.
        patch: shape of the patches that are predicted.
        device, precision: see `Inference`.

    Raises:
        RequestError: the part of a validation box that is segmented holds no label, or the patch has an odd length.
    """

    def __init__(
        self,
        volumes: Sequence[TrainingVolume],
        scoring: ScoringConfig,
        judge: Judge,
        patch: Triple,
        device: Literal["cpu", "cuda"],
        precision: Literal["float32", "bfloat16"],
    ) -> None:
        Patches(patch)  # refuses what could only be trained on
        self.scoring, self.judge = scoring, judge
        self.boxes = [(volume, middle(box, scoring.shape)) for volume in volumes for box in volume.validation]
        for volume, box in self.boxes:
            if not _labels(volume, box).any():
                raise RequestError(
                    f"A validation box must hold labels where it is segmented: {box} has none. Move the box, enlarge"
                    ' [scoring] shape, or keep the last weights: [training] keep = "last".'
                )
        self.inferences = [
            Inference(patch=patch, normalisation=volume.normalisation, device=device, precision=precision)
            for volume, _ in self.boxes
        ]

    def __call__(self, network: NetworkConfig, weights: Mapping[str, Tensor]) -> dict[str, Any]:
        """Scores of a network, the mean over the boxes.

        Returns:
            For each threshold, the highest first, the adapted Rand error, and both halves of the variation of
            information in bits; and "validation_score", the lowest √(variation of information · adapted Rand error).
        """
        found = []
        for (volume, box), inference in zip(self.boxes, self.inferences, strict=True):
            module = ResidualSymmetricUNet(network)
            module.load_state_dict(weights)
            predictor = Predictor(module.eval(), inference)
            affinities = predictor.predict(volume.read, triple(volume.image.shape), box, box.shape[0])
            found.append(self.judge(affinities, _labels(volume, box), self.scoring))
        names = ("adapted_rand_error", "voi_split", "voi_merge", "cremi_score")
        means = {
            name: [
                round(sum(getattr(score, name) for score in scores) / len(scores), 5)
                for scores in zip(*found, strict=True)
            ]
            for name in names
        }
        return {"validation_score": min(means.pop("cremi_score")), **means}


def middle(box: Box, shape: Triple) -> Box:
    """Returns the part of a shape, or what there is of it, in the middle of a box."""
    extent = [min(b, s) for b, s in zip(box.shape, shape, strict=True)]
    start = [a + (b - e) // 2 for a, b, e in zip(box.start, box.shape, extent, strict=True)]
    return Box.of_shape(extent, start)


def _labels(volume: TrainingVolume, box: Box) -> NDArray[np.integer]:
    labels = object_ids(volume.labels[box.slices()], "labels")
    return np.where(volume.mask[box.slices()], labels, labels.dtype.type(0))
