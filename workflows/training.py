"""`petavox train`: a strict TOML recipe, the volumes that it names, and the training that it asks for.

From Python: `checkpoint = train_from_recipe(Path("recipe.toml"), Path("training"))`; calling it again in the same
directory continues where it stopped. Arrays in memory: `pipeline.affinities.training.Trainer(…).run()`.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, ValidationError

from ..pipeline.affinities.augmentation import AugmentationConfig
from ..pipeline.affinities.network import NetworkConfig
from ..pipeline.affinities.normalisation import Normalisation, estimate_normalisation
from ..pipeline.affinities.sampling import TrainingVolume
from ..pipeline.affinities.training import Trainer, TrainingConfig
from ..pipeline.errors import RequestError, VolumeError
from ..pipeline.geometry import Box, Triple

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class RecipeBox(BaseModel):
    """A half-open box in voxels (z, y, x)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    start: Triple
    stop: Triple

    @property
    def box(self) -> Box:
        return Box(self.start, self.stop)


class RecipeVolume(BaseModel):
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

    model_config = ConfigDict(frozen=True, extra="forbid")

    raw: str
    labels: str
    mask: str | None = None
    weight: PositiveFloat = 1.0
    normalisation: Normalisation | None = None
    validation: tuple[RecipeBox, ...] = ()
    exclude: tuple[RecipeBox, ...] = ()


class TrainingRecipe(BaseModel):
    """A recipe of `petavox train`.

    Args:
        voxel_size: of all volumes, in nm (z, y, x).
        network, training, augmentation: what is trained, and how.
        volume: what it is trained on.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    voxel_size: tuple[PositiveFloat, PositiveFloat, PositiveFloat]
    network: NetworkConfig = NetworkConfig()
    training: TrainingConfig = TrainingConfig()
    augmentation: AugmentationConfig = AugmentationConfig()
    volume: tuple[RecipeVolume, ...] = Field(min_length=1)


def read_training_recipe(path: Path, overrides: dict[str, Any] | None = None) -> TrainingRecipe:
    """A recipe from its file, with values such as {"training.steps": 100} put over those in it.

    Raises:
        RequestError: the file is missing, is not TOML, or holds an unknown key or a wrong value.
    """
    try:
        tables = tomllib.loads(path.read_text())
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise RequestError(f"The training recipe {path} cannot be read: {error}") from error
    for key, value in (overrides or {}).items():
        *names, last = key.split(".")
        table = tables
        for name in names:
            table = table.setdefault(name, {})
        table[last] = value
    try:
        return TrainingRecipe.model_validate(tables)
    except ValidationError as error:
        raise RequestError(f"The training recipe {path} is wrong: {error}") from error


def train_from_recipe(
    path: Path,
    directory: Path,
    overrides: dict[str, Any] | None = None,
    report: Callable[[dict[str, Any]], None] | None = None,
) -> Path:
    """Trains as a recipe says; continues a training that the directory already holds.

    Args:
        path: the recipe.
        directory: for state, log (training_log.jsonl) and checkpoint.
        overrides: values by dotted key, put over the recipe's.
        report: is given every line of the log.

    Returns:
        The folder of the checkpoint, that of the averaged weights.

    Raises:
        RequestError: the recipe or a volume is wrong, or the directory holds another training.
    """
    recipe = read_training_recipe(path, overrides)
    volumes = [_load(volume, path.parent) for volume in recipe.volume]
    provenance: dict[str, str | int | float] = {"recipe": path.name}
    trainer = Trainer(
        recipe.network,
        recipe.augmentation,
        recipe.training,
        volumes,
        directory,
        voxel_size=recipe.voxel_size,
        provenance=provenance,
    )
    return trainer.run(report)


def _load(volume: RecipeVolume, base: Path) -> TrainingVolume:
    raw, labels = _read(volume.raw, base), _read(volume.labels, base)
    mask = labels == labels if volume.mask is None else _read(volume.mask, base) != 0
    normalisation = volume.normalisation or estimate_normalisation(lambda box: raw[box.slices()], raw.shape)  # type: ignore[arg-type]
    return TrainingVolume(
        raw,
        labels,  # type: ignore[arg-type]
        mask,
        normalisation,
        tuple(box.box for box in volume.validation),
        tuple(box.box for box in volume.exclude),
        volume.weight,
    )


def _read(name: str, base: Path) -> NDArray[np.generic]:
    """A whole volume (Z, Y, X), from a TIFF file or from a volume that petavox opens."""
    expanded = os.path.expandvars(name)
    if "$" in expanded:
        raise RequestError(f"The path {name} names an environment variable that is not set.")
    path = base / expanded
    if path.suffix.lower() not in (".tif", ".tiff"):
        from ..pipeline.volumes import open_volume

        volume = open_volume(path)
        return volume.read(Box.of_shape(volume.spec.shape))  # type: ignore[no-any-return]
    import tifffile

    try:
        return tifffile.imread(path)  # type: ignore[no-any-return]
    except (OSError, ValueError) as error:
        raise VolumeError(f"The training volume {path} cannot be read: {error}") from error
