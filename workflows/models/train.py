"""`petavox train`: a strict TOML recipe, the volumes that it names, and the training that it asks for.

From Python: `petavox.train("recipe.toml")`; calling it again continues where it stopped. With arrays in memory:
`pipeline.affinities.training.Trainer(…).run()`.
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
from ...pipeline.affinities.training import CHECKPOINT, LAST, LONGER, Trainer
from ...pipeline.affinities.validation import ScoringConfig
from ...pipeline.errors import RequestError, VolumeError
from ...pipeline.files import remove_partial, write_bytes
from ...pipeline.geometry import Box, triple
from ...pipeline.networks.normalisation import estimate_normalisation
from ...pipeline.networks.processes import joined_processes
from ...pipeline.phantom import Phantom, PhantomConfig
from ...pipeline.segment import scores_at
from ...pipeline.volumes.spec import Nanometres
from ..recipes import strict_toml
from ..recipes.training_recipe import RecipePhantom, RecipeVolume, TrainingRecipe
from .card import training_card
from .curves import CURVES, training_curves
from .labelled_volume import read_labelled
from .training_lock import training_lock

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ...pipeline.evaluation.scores import Scores


def train_from_recipe(
    path: Path,
    directory: Path,
    overrides: Sequence[str] = (),
    report: Callable[[dict[str, Any]], None] | None = None,
    tell: Callable[[str], None] = lambda remark: None,
    pause: Callable[[], bool] = lambda: False,
) -> Path:
    """Trains as a recipe says; continues a training that the directory already holds.

    Under torchrun, all its processes train one network together.

    Args:
        path: the recipe.
        directory: for state, log (training_log.jsonl, and in the format of TensorBoard), checkpoint, and at the end the
            log's curves.
        overrides: "key=value" with dotted keys, such as "training.steps=100", laid over the recipe.
        report: is given every line of the log.
        tell: is told what a user must know of the volumes.
        pause: tells before each step whether to wait.

    Returns:
        The folder of the checkpoint: the averaged weights with the best validation score, or without validation the
        last ones.

    Raises:
        RequestError: the recipe, a volume or the checkpoint to start from is wrong, or the directory holds another
            training, or one is at work there.
        KeyboardInterrupt: Ctrl-C was pressed; the state is saved.
    """
    recipe = strict_toml.read(path, TrainingRecipe, overrides)
    return train(recipe, directory, name=path.name, folder=path.parent, report=report, tell=tell, pause=pause)


def train(
    recipe: TrainingRecipe,
    directory: Path,
    *,
    name: str,
    folder: Path,
    title: str | None = None,
    report: Callable[[dict[str, Any]], None] | None = None,
    tell: Callable[[str], None] = lambda remark: None,
    pause: Callable[[], bool] = lambda: False,
) -> Path:
    """Trains as a recipe says that has been read already; see `train_from_recipe`.

    Args:
        recipe: what is trained.
        directory: of the training.
        name: of the recipe, for the card.
        folder: that the paths of volumes are relative to.
        title: of the card; the name of the directory unless given.
        report: is given every line of the log.
        tell: is told what a user must know of the volumes.
        pause: tells before each step whether to wait.
    """
    with joined_processes(recipe.training.device) as processes:
        trainer = _trainer(recipe, name, folder, directory, title or directory.resolve().name, report, tell)
        lock = training_lock(directory, tell) if processes.first else contextlib.nullcontext()
        with lock, stopped_by_signals(trainer.stop) as interrupted:
            for part in ("", CHECKPOINT, LAST, LONGER):
                remove_partial(directory / part)
            trainer.begin()
            checkpoint = trainer.run(pause)
            if processes.first and trainer.state.next_step:
                write_bytes(directory / CURVES, training_curves(directory))
        if interrupted():
            raise KeyboardInterrupt(f"Step {trainer.state.next_step} is saved; the same command continues.")
    return checkpoint


def _trainer(
    recipe: TrainingRecipe,
    name: str,
    folder: Path,
    directory: Path,
    title: str,
    report: Callable[[dict[str, Any]], None] | None,
    tell: Callable[[str], None],
) -> Trainer:
    network, start = recipe.network, None if recipe.start is None else find_checkpoint(recipe.start)
    if start is not None and "network" not in recipe.model_fields_set:
        network = read_checkpoint_config(start).network
    volumes = [_load(volume, folder, recipe.voxel_size, tell) for volume in recipe.volume]
    volumes += [_draw(phantom, recipe.voxel_size) for phantom in recipe.phantom]
    provenance: dict[str, str | int | float] = {"recipe": name}
    if start is not None:
        provenance |= {"start": start.name, "start_weights_sha256": read_checkpoint_config(start).weights_sha256}
    if recipe.training.anneal:
        provenance["anneal"] = recipe.training.anneal
    return Trainer(
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
        card=partial(training_card, recipe, title),
        report=report,
    )


@contextlib.contextmanager
def stopped_by_signals(stop: Callable[[], None]) -> Iterator[Callable[[], bool]]:
    """Calls `stop` on SIGTERM and on Ctrl-C, in the thread that gets signals; elsewhere signals do what they did.

    A second Ctrl-C ends the block at once.

    Yields:
        Tells whether Ctrl-C was pressed.
    """
    pressed: list[int] = []

    def interrupt(*_: object) -> None:
        pressed.append(signal.SIGINT)
        stop()
        signal.signal(signal.SIGINT, signal.default_int_handler)

    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    before = signal.signal(signal.SIGTERM, lambda *_: stop()), signal.signal(signal.SIGINT, interrupt)
    try:
        yield lambda: bool(pressed)
    finally:
        signal.signal(signal.SIGTERM, before[0])
        signal.signal(signal.SIGINT, before[1])


def _judge(affinities: NDArray[np.uint8], labels: NDArray[np.integer], scoring: ScoringConfig) -> tuple[Scores, ...]:
    rules = scoring.model_dump(exclude={"shape", "thresholds"})
    return scores_at(scoring.thresholds, affinities, labels, **rules)


def _load(volume: RecipeVolume, base: Path, voxel_size: Nanometres, tell: Callable[[str], None]) -> TrainingVolume:
    mask = None if volume.mask is None else _located(volume.mask, base)
    read = read_labelled(_located(volume.raw, base), _located(volume.labels, base), mask, voxel_size, tell)
    normalisation = volume.normalisation or estimate_normalisation(
        lambda box: read.raw[box.slices()], triple(read.raw.shape), fill_value=read.fill_value
    )
    loaded = TrainingVolume(
        read.raw,
        read.labels,
        read.mask,
        normalisation,
        tuple(box.box for box in volume.validation),
        tuple(box.box for box in volume.exclude),
        volume.weight,
    )
    if not read.labels[loaded.learnable()].any():
        raise VolumeError(
            f"Nothing can be learned from labels without an object: where {volume.labels} may be learned from, all is "
            "background (0), or unknown. Is it the right file? Check its mask and boxes, too."
        )
    return loaded


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


def _located(name: str, base: Path) -> str:
    """A path in a recipe, its $VARIABLES and ~ replaced; relative ones lie beside the recipe, a URL stays as it is."""
    expanded = os.path.expanduser(os.path.expandvars(name))  # noqa: PTH111 - URLs pass through
    if "$" in expanded:
        raise RequestError(f"The path {name} names an environment variable that is not set.")
    return expanded if "://" in expanded else str(base / expanded)
