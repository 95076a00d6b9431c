"""The recipe of a training: the volumes, the network, and how it is trained."""

from __future__ import annotations

from pydantic import PositiveFloat, model_validator

from ...pipeline.affinities.augmentation_config import AugmentationConfig
from ...pipeline.affinities.network_config import NetworkConfig
from ...pipeline.affinities.training_config import TrainingConfig
from ...pipeline.affinities.validation import ScoringConfig
from ...pipeline.geometry import Box, Triple
from ...pipeline.networks.normalisation import Normalisation
from ...pipeline.phantom import PhantomConfig
from .segmentation_recipe import CheckpointName
from .strict_toml import Section


class RecipeBox(Section):
    """A half-open box in voxels (z, y, x)."""

    start: Triple
    stop: Triple

    @property
    def box(self) -> Box:
        return Box(self.start, self.stop)


class RecipeVolume(Section):
    """A labelled volume: paths are relative to the recipe and may hold $VARIABLES.

    Args:
        raw: grey values: a TIFF file, or a volume that petavox opens.
        labels: objects, 0 for background.
        mask: nonzero where the labels are known; everywhere unless given.
        weight: how often patches come from it, relative to the other volumes.
        normalisation: of the grey values; estimated from the volume unless given.
        validation: boxes to validate on, whose labels are not learned from.
        exclude: further boxes whose labels are not learned from.
    """

    raw: str
    labels: str
    mask: str | None = None
    weight: PositiveFloat = 1.0
    normalisation: Normalisation | None = None
    validation: tuple[RecipeBox, ...] = ()
    exclude: tuple[RecipeBox, ...] = ()


class RecipePhantom(PhantomConfig):
    """A piece of phantom EM, from its origin on, drawn when training begins; its voxel size is the recipe's.

    Args:
        shape: of the piece, in voxels.
        weight: how often patches come from it, relative to the other volumes.
        validation: boxes to validate on, whose labels are not learned from.
    """

    shape: Triple
    weight: PositiveFloat = 1.0
    validation: tuple[RecipeBox, ...] = ()


class TrainingRecipe(Section):
    """A recipe of `petavox train`.

    Args:
        voxel_size: of all volumes, in nm (z, y, x).
        start: the checkpoint that training starts from, a model's name or a folder; from nothing unless given.
        network, training, augmentation: what is trained, and how; the network is that of `start` unless given.
        scoring: how validation boxes are segmented to find the best weights.
        volume, phantom: what it is trained on; at least one of them.
    """

    voxel_size: tuple[PositiveFloat, PositiveFloat, PositiveFloat]
    start: CheckpointName | None = None
    network: NetworkConfig = NetworkConfig()
    training: TrainingConfig = TrainingConfig()
    augmentation: AugmentationConfig = AugmentationConfig()
    scoring: ScoringConfig = ScoringConfig()
    volume: tuple[RecipeVolume, ...] = ()
    phantom: tuple[RecipePhantom, ...] = ()

    @model_validator(mode="after")
    def _check(self) -> TrainingRecipe:
        if not self.volume and not self.phantom:
            raise ValueError("there must be something to train on: add a [[volume]] or a [[phantom]]")
        return self
