"""How a network is trained: what a recipe may say of it, and the learning rate that follows."""

from __future__ import annotations

import math
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

from ..geometry import Triple


class TrainingConfig(BaseModel):
    """How a network is trained.

    Args:
        patch: shape of a training patch, in voxels.
        batch: patches in a step, of all processes together.
        steps: how many steps the schedule has, at most.
        minutes: of wall time, after which the schedule ends even if steps are left; without it, steps alone end the
            schedule. No two trainings by the clock are alike.
        learning_rate: of AdamW after the warm-up; it then falls to 0 as a cosine.
        warm_up: steps over which it rises from 0.
        weight_decay: of AdamW.
        clip: the gradient's largest norm.
        average: decay of the exponential moving average of the weights, which is what is validated and kept.
        balance_limit: the largest weight of an edge by the rarity of its class, in a channel.
        descriptor_weight: of the error of the shape descriptors, if the network has any, beside that of the affinities;
            with 0 they are not computed.
        maximin_weight: of the error of the edges that decide which voxels are joined (`maximin`), beside that of all
            affinities; with 0 it is not computed. The first three offsets must be the nearest neighbours then.
        labelled: least fraction of a patch whose labels are known.
        erosion: voxels by which labels are eroded in the plane.
        erosion_depth: voxels by which they are eroded along z.
        validation_patches: the most patches that are validated on.
        keep: which averaged weights are the checkpoint: those with the best validation score, where there are
            validation boxes to segment, or the last ones.
        log_every, validate_every, save_every: in steps.
        seed: of the first weights, of the patches and of their augmentation.
        threads: that torch computes with on a CPU.
        device: "cpu" or "cuda".
        precision: "bfloat16" computes the convolutions in it, by autocast.
        compile: whether torch compiles the network, which takes minutes when training begins.
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
    """The rate of a step, the first of which is number 0: a linear rise, then a cosine that reaches 0 at the end.

    Args:
        step: its number.
        config: with a budget of minutes, the schedule is as far as the steps or the clock are, whichever is farther.
        seconds: of training before the step.
    """
    if step < config.warm_up:
        return config.learning_rate * (step + 1) / config.warm_up
    progress = (step - config.warm_up) / max(1, config.steps - config.warm_up)
    if config.minutes is not None:
        progress = max(progress, seconds / (60 * config.minutes))
    return config.learning_rate * 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))
