"""Configures the training of a network, and computes the learning rate of each step."""

from __future__ import annotations

import math
from typing import Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    model_validator,
)

from ..geometry import Triple

ENDLESS = 10**9
"""Steps from which on a training is one without an end."""


class TrainingConfig(BaseModel):
    """Says how a network is trained.

    Args:
        patch: Shape of a training patch, in voxels.
        batch: Patches of one step, of all processes together.
        steps: Steps of the schedule, at most.
        minutes: Wall time after which the schedule ends even if steps are left. No two trainings by the clock are
            alike. Default: steps alone end the schedule.
        schedule: The learning rate after the warm-up: "cosine" falls to 0 as a cosine; "constant" stays, and falls to
            0 over the last `anneal` steps, so that training may go on for any number of steps before these.
        anneal: Last steps of a constant schedule, over which the learning rate falls to 0 as a line.
        learning_rate: Learning rate of AdamW after the warm-up.
        warm_up: Steps over which the learning rate rises from 0.
        weight_decay: Weight decay of AdamW.
        clip: Largest norm of the gradient.
        average: Decay of the exponential moving average of the weights. The averaged weights are validated and kept.
        longer_average: Decay of a second average of the weights, which a constant schedule keeps as well.
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
        save_minutes: Minutes between two saved states, where that is sooner. Default: steps alone count.
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
    schedule: Literal["cosine", "constant"] = "cosine"
    anneal: NonNegativeInt = 0
    learning_rate: PositiveFloat = 2e-3
    warm_up: NonNegativeInt = 200
    weight_decay: NonNegativeFloat = 0.01
    clip: PositiveFloat = 1.0
    average: float = Field(default=0.999, ge=0, lt=1)
    longer_average: float = Field(default=0.9999, ge=0, lt=1)
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
    save_minutes: PositiveFloat | None = None
    seed: NonNegativeInt = 0
    threads: PositiveInt = 2
    device: Literal["cpu", "cuda"] = "cpu"
    precision: Literal["float32", "bfloat16"] = "float32"
    compile: bool = False

    @model_validator(mode="after")
    def _check(self) -> TrainingConfig:
        if self.anneal and self.schedule != "constant":
            raise ValueError('anneal belongs to a constant schedule: set schedule = "constant", or leave anneal out')
        if self.anneal > self.steps:
            raise ValueError(f"anneal counts the last of the steps; found {self.anneal} of {self.steps} steps")
        if self.anneal and self.minutes is not None:
            raise ValueError("anneal counts steps, which minutes may end before: leave one of them out")
        return self

    @property
    def ends(self) -> bool:
        """Tells whether the learning rate falls to 0 at the end, so that the last weights are those to use."""
        return self.schedule == "cosine" or self.anneal > 0


def learning_rate(step: int, config: TrainingConfig, seconds: float = 0.0) -> float:
    """Returns the rate of a step, counted from 0: a linear rise, then what the schedule says.

    Args:
        step: its number.
        config: with a budget of minutes, a cosine is as far as the steps or the clock are, whichever is farther.
        seconds: seconds of training before the step.
    """
    if config.schedule == "constant":
        left = (config.steps - step) / config.anneal if config.anneal else 1.0
        return config.learning_rate * min(1.0, (step + 1) / max(1, config.warm_up)) * min(1.0, left)
    if step < config.warm_up:
        return config.learning_rate * (step + 1) / config.warm_up
    progress = (step - config.warm_up) / max(1, config.steps - config.warm_up)
    if config.minutes is not None:
        progress = max(progress, seconds / (60 * config.minutes))
    return config.learning_rate * 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))
