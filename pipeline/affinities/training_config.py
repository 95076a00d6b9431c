"""Configures the training of a network, and computes the learning rate of each step."""

from __future__ import annotations

import math
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

from ..geometry import Triple


class TrainingConfig(BaseModel):
    """Says how a network is trained.

    Args:
        patch: Shape of a training patch, in voxels.
        batch: Patches of one step, of all processes together.
        steps: Steps of the schedule, at most.
        minutes: Wall time after which the schedule ends even if steps are left. No two trainings by the clock are
            alike. Default: steps alone end the schedule.
        learning_rate: Learning rate of AdamW after the warm-up. It then falls to 0 as a cosine.
        warm_up: Steps over which the learning rate rises from 0.
        weight_decay: Weight decay of AdamW.
        clip: Largest norm of the gradient.
        average: Decay of the exponential moving average of the weights. The averaged weights are validated and kept.
        balance_limit: Largest weight that an edge gets because its class is rare in a channel.
        descriptor_weight: Weight of the error of the shape descriptors beside that of the affinities, if the network
            has any. With 0 they are not computed.
        maximin_weight: Weight of the error of the edges that decide which voxels are joined, beside that of all
            affinities. With 0 it is not computed. Otherwise the first three offsets must be the nearest neighbours.
        labelled: Least share of a patch whose labels are known.
        erosion: Voxels by which labels are eroded in the plane.
        erosion_depth: Voxels by which labels are eroded along z.
        validation_patches: Most patches that the loss is validated on.
        keep: The averaged weights that become the checkpoint: those with the best validation score, where there are
            validation boxes to segment, or the last ones.
        log_every: Steps between two lines of the log.
        validate_every: Steps between two validations.
        save_every: Steps between two saved states.
        seed: Number from which the first weights, the patches and their augmentation are drawn.
        threads: Threads of torch on a CPU.
        device: Device that trains.
        precision: Number format of the convolutions; "bfloat16" by autocast.
        compile: Compiles the network when training begins, which takes minutes.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    patch: Triple = (20, 160, 160)
    batch: PositiveInt = 1
    steps: PositiveInt = 4000
    minutes: PositiveFloat | None = None
    learning_rate: PositiveFloat = 2e-3
    warm_up: NonNegativeInt = 200
    weight_decay: NonNegativeFloat = 0.01
    clip: PositiveFloat = 1.0
    average: float = Field(default=0.999, ge=0, lt=1)
    balance_limit: float = Field(default=10.0, ge=1)
    descriptor_weight: NonNegativeFloat = 1.0
    maximin_weight: NonNegativeFloat = 0.0
    labelled: float = Field(default=0.5, ge=0, le=1)
    erosion: NonNegativeInt = 0
    erosion_depth: NonNegativeInt = 0
    validation_patches: PositiveInt = 8
    keep: Literal["best", "last"] = "best"
    log_every: PositiveInt = 20
    validate_every: PositiveInt = 250
    save_every: PositiveInt = 250
    seed: NonNegativeInt = 0
    threads: PositiveInt = 2
    device: Literal["cpu", "cuda"] = "cpu"
    precision: Literal["float32", "bfloat16"] = "float32"
    compile: bool = False


def learning_rate(step: int, config: TrainingConfig, seconds: float = 0.0) -> float:
    """Returns the rate of a step, counted from 0: a linear rise, then a cosine that reaches 0 at the end.

    Args:
        step: its number.
        config: with a budget of minutes, the schedule is as far as the steps or the clock are, whichever is farther.
        seconds: seconds of training before the step.
    """
    if step < config.warm_up:
        return config.learning_rate * (step + 1) / config.warm_up
    progress = (step - config.warm_up) / max(1, config.steps - config.warm_up)
    if config.minutes is not None:
        progress = max(progress, seconds / (60 * config.minutes))
    return config.learning_rate * 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))
