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
    """Describes a half-open box in voxels (z, y, x).

    Args:
        start: First voxel.
        stop: End of the box, exclusive.
    """

    start: Triple
    stop: Triple

    @property
    def box(self) -> Box:
        return Box(self.start, self.stop)


class RecipeVolume(Section):
    """Describes a labelled volume. Paths are relative to the recipe and may hold $VARIABLES.

    Args:
        raw: The image: a TIFF file, or a volume that petavox opens.
        labels: The objects, on the grid of the image; 0 is background.
        mask: A volume that is not 0 where the labels are known. Default: they are known everywhere.
        weight: Share of the patches that come from this volume, relative to the weights of the others.
        normalisation: Mean and standard deviation of the grey values. Default: estimated from the volume.
        validation: Boxes that validate the network. Their labels are not learned from.
        exclude: Further boxes whose labels are not learned from.
    """

    raw: str
    labels: str
    mask: str | None = None
    weight: PositiveFloat = 1.0
    normalisation: Normalisation | None = None
    validation: tuple[RecipeBox, ...] = ()
    exclude: tuple[RecipeBox, ...] = ()


class RecipePhantom(PhantomConfig):
    """Describes a piece of phantom EM, drawn when training begins; its voxel size is the recipe's.

    Args:
        shape: Shape of the piece, in voxels, from the phantom's origin on.
        weight: Share of the patches that come from this phantom, relative to the weights of the others.
        validation: Boxes that validate the network. Their labels are not learned from.
    """

    shape: Triple
    weight: PositiveFloat = 1.0
    validation: tuple[RecipeBox, ...] = ()


class TrainingRecipe(Section):
    """Holds everything that a training is asked to do.

    Args:
        voxel_size: Voxel size of all volumes, in nm (z, y, x).
        start: The checkpoint that training starts from: a model's name or a folder. Default: random weights.
        network: The network that is trained. Default: the network of `start`, where there is one.
        training: The schedule of the training.
        augmentation: The changes that training patches see.
        scoring: The rule by which validation boxes are segmented, to find the best weights.
        volume: Labelled volumes to train on. There must be a volume or a phantom.
        phantom: Phantoms to train on.
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
