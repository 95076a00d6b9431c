"""Checkpoints of affinity networks: their config, their offsets, and the module with its weights."""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, Field

from ..errors import AffinityError, CheckpointError
from ..geometry import Triple
from ..networks.checkpoint import StoredNetwork, find_folder, load_weights, models_by_name, read_config
from ..networks.patch_grid import Patches
from .network_config import NetworkConfig
from .offsets import NEAREST, Offsets, check_offsets

if TYPE_CHECKING:
    from .unet import ResidualSymmetricUNet


class Prediction(BaseModel):
    """Names the patches that a network is used with, where they are others than it was trained on.

    Args:
        overlap, rim: see `Patches`.
        patch: their shape, in voxels; that of the training unless given.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    overlap: Triple
    rim: Triple | None = None
    patch: Triple | None = None


class Settings(BaseModel):
    """Holds the settings of a segmentation that were tuned for a network: a recipe that names it has them.

    Args:
        supervoxels, agglomeration: keys and values of these tables of a recipe.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    supervoxels: dict[str, int | float | str] = {}
    agglomeration: dict[str, int | float | str] = {}


class CheckpointConfig(StoredNetwork[NetworkConfig]):
    """Holds everything about an affinity network but its weights.

    Args:
        prediction: patches that it is used with; those of the training, overlapping by half, unless given.
        settings: of the segmentation, as they were tuned for it.
    """

    prediction: Prediction | None = Field(default=None, exclude_if=lambda patches: patches is None)
    settings: Settings | None = Field(default=None, exclude_if=lambda settings: settings is None)

    def patches(self, shape: Triple | None = None, overlap: Triple | None = None, rim: Triple | None = None) -> Patches:
        """Returns the patches that it is used with where a recipe asks for these.

        Raises:
            RequestError: see `Patches`.
        """
        own = self.prediction
        if own is None:
            return Patches(shape or self.patch, overlap, rim)
        if overlap is None:
            overlap, rim = own.overlap, rim or own.rim
        return Patches(shape or own.patch or self.patch, overlap, rim)


def shipped_models() -> Path:
    """Returns the folder of the models that come with petavox."""
    return Path(str(resources.files(__package__) / "checkpoints"))


def known_models() -> dict[str, tuple[Path, ...]]:
    """Lists names that stand for models, and their folders: more than one where a user has taken a shipped name."""
    return models_by_name(shipped_models())


def find_checkpoint(name: str | Path) -> Path:
    """Finds the folder of a checkpoint: a path, the name of a user's model, or a shipped name such as "snemi3d".

    Raises:
        CheckpointError: there is no such folder, with the names that there are; or the name stands for two models.
    """
    return find_folder(name, shipped_models(), read_checkpoint_config)


def read_checkpoint_config(folder: Path) -> CheckpointConfig:
    """Returns the config of a checkpoint, without its weights.

    Raises:
        CheckpointError: it is missing or damaged.
    """
    return read_config(folder, CheckpointConfig)


def check_checkpoint_offsets(folder: Path, needed: Offsets = NEAREST) -> CheckpointConfig:
    """Returns the config of a checkpoint whose first channels have the needed offsets.

    Raises:
        CheckpointError: they have others, or the checkpoint is missing or damaged.
    """
    config = read_checkpoint_config(folder)
    try:
        check_offsets(config.network.offsets, needed)
    except AffinityError as error:
        raise CheckpointError(f"The checkpoint {folder} was made for other offsets. {error}") from error
    return config


def load_checkpoint(folder: Path) -> tuple[CheckpointConfig, ResidualSymmetricUNet]:
    """Returns a checkpoint's config and its network, on the CPU in float32, ready for training or for `fold()`.

    Raises:
        CheckpointError: it is missing or damaged, or its weights are not those of its config.
    """
    from .unet import ResidualSymmetricUNet

    config = read_checkpoint_config(folder)
    network = ResidualSymmetricUNet(config.network)
    load_weights(folder, config, network)
    return config, network


def starting_point(folder: Path, network: NetworkConfig) -> tuple[CheckpointConfig, ResidualSymmetricUNet]:
    """Returns the checkpoint that a training starts from: of the same network, or of one with fewer feature maps.

    Raises:
        CheckpointError: it is missing or damaged, or its network is another one.
    """
    from .widening import may_widen

    config, module = load_checkpoint(folder)
    if not may_widen(config.network, network):
        wanted, found = network.model_dump(), config.network.model_dump()
        others = [f"{name} {found[name]}, not {wanted[name]}" for name in wanted if wanted[name] != found[name]]
        raise CheckpointError(
            "A training starts from a checkpoint of the same network, which may have smaller widths; "
            f"{folder} has {'; '.join(others)}. Leave [network] out of the recipe: it is the checkpoint's then."
        )
    return config, module
