"""`petavox train`: a strict TOML recipe, the volumes that it names, and the training that it asks for.

From Python: `checkpoint = train_from_recipe(Path("recipe.toml"), Path("training"))`; calling it again in the same
directory continues where it stopped. With arrays in memory: `pipeline.affinities.training.Trainer(…).run()`.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ...pipeline.affinities.checkpoint import find_checkpoint, read_checkpoint_config
from ...pipeline.affinities.sampling import TrainingVolume
from ...pipeline.affinities.training import Trainer
from ...pipeline.affinities.validation import ScoringConfig
from ...pipeline.errors import RequestError, VolumeError
from ...pipeline.geometry import Box, triple
from ...pipeline.networks.checkpoint import write_atomically
from ...pipeline.networks.normalisation import estimate_normalisation
from ...pipeline.networks.processes import joined_processes
from ...pipeline.phantom import Phantom, PhantomConfig
from ...pipeline.segment import scores_at
from ...pipeline.volumes import check_same_frame, largest_ratio, open_volume
from ..recipes import strict_toml
from ..recipes.training_recipe import RecipePhantom, RecipeVolume, TrainingRecipe
from .card import training_card
from .curves import CURVES, training_curves

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ...pipeline.evaluation.scores import Scores

LARGEST_RATIO = 1.05
"""Of a volume's voxel size and the recipe's, from which on one of them is wrong."""


def train_from_recipe(
    path: Path,
    directory: Path,
    overrides: Sequence[str] = (),
    report: Callable[[dict[str, Any]], None] | None = None,
) -> Path:
    """Trains as a recipe says; continues a training that the directory already holds.

    Under torchrun, all its processes train one network together.

    Args:
        path: the recipe.
        directory: for state, log (training_log.jsonl, and in the format of TensorBoard), checkpoint, and at the end the
            log's curves.
        overrides: "key=value" with dotted keys, such as "training.steps=100", laid over the recipe.
        report: is given every line of the log.

    Returns:
        The folder of the checkpoint: the averaged weights with the best validation score, or without validation the
        last ones.

    Raises:
        RequestError: the recipe, a volume or the checkpoint to start from is wrong, or the directory holds another
            training.
    """
    recipe = strict_toml.read(path, TrainingRecipe, overrides)
    return train(recipe, directory, name=path.name, folder=path.parent, report=report)


def train(
    recipe: TrainingRecipe,
    directory: Path,
    *,
    name: str,
    folder: Path,
    report: Callable[[dict[str, Any]], None] | None = None,
) -> Path:
    """Trains as a recipe says that has been read already; see `train_from_recipe`.

    Args:
        recipe: what is trained.
        directory: of the training.
        name: of the recipe, for the card.
        folder: that the paths of volumes are relative to.
        report: is given every line of the log.
    """
    with joined_processes(recipe.training.device):
        return _train(recipe, name, folder, directory, report)


def _train(
    recipe: TrainingRecipe,
    name: str,
    folder: Path,
    directory: Path,
    report: Callable[[dict[str, Any]], None] | None,
) -> Path:
    network, start = recipe.network, None if recipe.start is None else find_checkpoint(recipe.start)
    if start is not None and "network" not in recipe.model_fields_set:
        network = read_checkpoint_config(start).network
    for labelled in recipe.volume:
        _check_frame(labelled, folder, recipe.voxel_size)
    volumes = [_load(volume, folder) for volume in recipe.volume]
    volumes += [_draw(phantom, recipe.voxel_size) for phantom in recipe.phantom]
    provenance: dict[str, str | int | float] = {"recipe": name}
    if start is not None:
        provenance |= {"start": start.name, "start_weights_sha256": read_checkpoint_config(start).weights_sha256}
    trainer = Trainer(
        network,
        recipe.augmentation,
        recipe.training,
        volumes,
        directory,
        voxel_size=recipe.voxel_size,
        provenance=provenance,
        start=start,
        scoring=recipe.scoring,
        judge=_judge,
        card=partial(training_card, recipe, directory.resolve().name),
        report=report,
    )
    with stopped_by_signal(trainer.stop):
        checkpoint = trainer.run()
    if trainer.processes.first:
        write_atomically(directory / CURVES, training_curves(directory))
    return checkpoint


@contextlib.contextmanager
def stopped_by_signal(stop: Callable[[], None]) -> Iterator[None]:
    """Calls `stop` on SIGTERM, in the thread that gets signals; elsewhere signals do what they did."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, lambda *_: stop())
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _judge(affinities: NDArray[np.uint8], labels: NDArray[np.integer], scoring: ScoringConfig) -> tuple[Scores, ...]:
    rules = scoring.model_dump(exclude={"shape", "thresholds"})
    return scores_at(scoring.thresholds, affinities, labels, **rules)


def _check_frame(volume: RecipeVolume, base: Path, voxel_size: Sequence[float]) -> None:
    """Make sure that image, labels and mask have the same voxels, of the recipe's size, where the files say so."""
    paths = (_located(name, base) for name in (volume.raw, volume.labels, volume.mask) if name is not None)
    opened = [open_volume(path) for path in paths if not _is_tiff(path)]
    for other in opened[1:]:
        check_same_frame(opened[0], other)
    if opened and largest_ratio(opened[0].spec.voxel_size, voxel_size) >= LARGEST_RATIO:
        raise RequestError(
            f"A training recipe's voxel_size is that of its volumes, in nm (z, y, x); it says {list(voxel_size)},"
            f" {opened[0].path} has {list(opened[0].spec.voxel_size)}. Correct the recipe, or the volume's metadata."
        )


def _load(volume: RecipeVolume, base: Path) -> TrainingVolume:
    (raw, fill_value), (labels, _) = _read(volume.raw, base), _read(volume.labels, base)
    mask = labels == labels if volume.mask is None else _read(volume.mask, base)[0] != 0
    normalisation = volume.normalisation or estimate_normalisation(
        lambda box: raw[box.slices()], triple(raw.shape), fill_value=fill_value
    )
    return TrainingVolume(
        raw,
        labels,  # type: ignore[arg-type]
        mask,
        normalisation,
        tuple(box.box for box in volume.validation),
        tuple(box.box for box in volume.exclude),
        volume.weight,
    )


def _draw(piece: RecipePhantom, voxel_size: tuple[float, float, float]) -> TrainingVolume:
    config = PhantomConfig.model_validate(
        {**piece.model_dump(include=set(PhantomConfig.model_fields)), "voxel_size": voxel_size}
    )
    raw, names = Phantom(config).read(Box.of_shape(piece.shape))
    labels = np.unique(names, return_inverse=True)[1].astype(np.uint32).reshape(names.shape)
    labels += names.min() > 0  # without background, 0 must stay free
    normalisation = estimate_normalisation(lambda box: raw[box.slices()], piece.shape)
    validation = tuple(box.box for box in piece.validation)
    return TrainingVolume(raw, labels, np.ones(raw.shape, bool), normalisation, validation, weight=piece.weight)


def _read(name: str, base: Path) -> tuple[NDArray[np.generic], float]:
    """A whole volume (Z, Y, X), and its fill value, from a volume that petavox opens, or a TIFF file, which has 0."""
    path = _located(name, base)
    if not _is_tiff(path):
        volume = open_volume(path)
        return volume.read(volume.spec.box), volume.spec.fill_value
    import tifffile

    try:
        return tifffile.imread(path), 0
    except (OSError, ValueError) as error:
        raise VolumeError(f"The training volume {path} cannot be read: {error}") from error


def _located(name: str, base: Path) -> str:
    """A path of a recipe in a folder, its variables replaced; a URL stays as it is."""
    expanded = os.path.expandvars(name)
    if "$" in expanded:
        raise RequestError(f"The path {name} names an environment variable that is not set.")
    return expanded if "://" in expanded else str(base / expanded)


def _is_tiff(path: str) -> bool:
    return path.lower().endswith((".tif", ".tiff"))
