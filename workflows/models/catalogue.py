"""Models by name: the shipped ones and the user's own, each a folder with weights, config and card."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, Literal

import safetensors

from ...pipeline.affinities.checkpoint import (
    CheckpointConfig,
    Settings,
    find_checkpoint,
    known_models,
    load_checkpoint,
    read_checkpoint_config,
    shipped_models,
)
from ...pipeline.errors import CheckpointError, RequestError, StorageError
from ...pipeline.files import write_bytes
from ...pipeline.networks.checkpoint import CARD, CONFIG, WEIGHTS, save_checkpoint, user_models
from .card import read_card, summary

FILES = (WEIGHTS, CONFIG, CARD, "recipe.toml", "training_log.jsonl")
"""What a model's folder holds; the last two may be missing."""
ONNX = ".onnx"
STATISTICS = ("running_mean", "running_var", "num_batches_tracked")
"""What a normalisation has seen: in the weights file, and no parameters."""


@dataclass(frozen=True)
class Entry:
    """Describes a model in the list.

    Args:
        source: "folder" for one that has no name.
        parameters: number of learned numbers.
        summary: one line of its card.
    """

    name: str
    source: Literal["user", "shipped", "folder"]
    folder: Path
    config: CheckpointConfig
    parameters: int
    summary: str

    def to_json(self) -> dict[str, Any]:
        config = self.config.model_dump(mode="json")
        return {
            "name": self.name,
            "source": self.source,
            "folder": str(self.folder),
            "voxel_size": config["voxel_size"],
            "offsets": config["network"]["offsets"],
            "patch": config["patch"],
            "parameters": self.parameters,
            "weights_sha256": config["weights_sha256"],
            "summary": self.summary,
        }


def list_models() -> tuple[list[Entry], list[CheckpointError]]:
    """Lists every model that has a name, and the problems of those that cannot be listed."""
    entries, problems = [], []
    for folders in known_models().values():
        for folder in folders:
            try:
                entries.append(_entry(folder))
            except CheckpointError as error:
                problems.append(error)
    return entries, problems


def describe(name: str) -> Entry:
    """Returns the model of a name or in a folder.

    Raises:
        CheckpointError: there is none, or it is damaged.
    """
    return _entry(find_checkpoint(name))


def add_model(source: Path, name: str | None = None, *, half: bool = False) -> Path:
    """Puts a checkpoint into the folder of the user's models, whole or not at all.

    Args:
        source: folder of the checkpoint, with its card, or an ONNX file that was exported of one.
        name: unless given, that of the source, or for what `petavox train` has left that of the training.
        half: round the weights of convolutions to half precision, in half the space. It is another model then.

    Returns:
        The folder that it has now. Adding the same again changes nothing.

    Raises:
        RequestError: the checkpoint is damaged or has no card, or the name is no name or that of another model.
        StorageError: it cannot be written.
    """
    chosen = name or _usual_name(source.resolve())
    _check_name(chosen)
    copy_into = _from_onnx(source) if source.suffix == ONNX else _from_folder(source)
    target, unfinished = user_models() / chosen, user_models() / f".{chosen}.{os.getpid()}"
    try:
        unfinished.mkdir(parents=True)
        copy_into(unfinished)
        if half:
            _round_weights(unfinished)
        _put(unfinished, target)
    except OSError as error:
        raise StorageError(f"The model {target} cannot be written: {error.strerror or error}.") from error
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return target


def write_settings(name: str, settings: Settings) -> Path:
    """Writes the settings of a segmentation into one of the user's own models, in place of those that it has.

    Returns:
        The folder of the model.

    Raises:
        RequestError: there is no such model, or it is not the user's own.
        StorageError: it cannot be written.
    """
    folder = find_checkpoint(name)
    if _source(folder) == "shipped":
        raise RequestError(
            f"Settings are written into models of your own; {name} is shipped with petavox. Copy it first under another"
            f" name: petavox models add {folder} --name MINE"
        )
    config = read_checkpoint_config(folder).model_copy(update={"settings": settings})
    write_bytes(folder / CONFIG, (config.model_dump_json(indent=2) + "\n").encode())
    return folder


def export_model(name: str, out: Path) -> None:
    """Writes a model as an ONNX file, which may not be there yet.

    Raises:
        RequestError: there is no such model, the file is there or is called otherwise, or onnx is not installed.
        StorageError: it cannot be written.
    """
    if out.suffix != ONNX or out.exists():
        raise RequestError(
            f"A model is exported to a new file whose name ends with {ONNX}; found {out}. Choose another."
        )
    from ...pipeline.affinities.onnx import write_onnx

    folder = find_checkpoint(name)
    config, network = load_checkpoint(folder)
    try:
        write_onnx(out, config, network, read_card(folder))
    except OSError as error:
        raise StorageError(f"{out} cannot be written: {error.strerror or error}.") from error


def _from_folder(source: Path) -> Callable[[Path], None]:
    """Copies a checkpoint that has been looked at."""
    load_checkpoint(source)
    read_card(source)

    def copy_into(folder: Path) -> None:
        for file in _files(source):
            shutil.copyfile(file, folder / file.name)

    return copy_into


def _from_onnx(source: Path) -> Callable[[Path], None]:
    from ...pipeline.affinities.onnx import read_onnx

    config, weights, card = read_onnx(source)

    def copy_into(folder: Path) -> None:
        if save_checkpoint(folder, config, weights, card).weights_sha256 != config.weights_sha256:
            raise CheckpointError(
                f"The weights in {source} are not those that were exported: it was changed since. Export it again."
            )

    return copy_into


def _round_weights(folder: Path) -> None:
    config, network = load_checkpoint(folder)
    save_checkpoint(folder, config.model_copy(update={"half": True}), network.state_dict())


def _entry(folder: Path) -> Entry:
    config = read_checkpoint_config(folder)
    return Entry(folder.name, _source(folder), folder, config, _parameters(folder), summary(read_card(folder)))


def _source(folder: Path) -> Literal["user", "shipped", "folder"]:
    if folder.parent.resolve() == user_models().resolve():
        return "user"
    return "shipped" if folder.parent.resolve() == shipped_models().resolve() else "folder"


def _parameters(folder: Path) -> int:
    """Counts the parameters in a weights file, by its header alone."""
    try:
        with safetensors.safe_open(folder / WEIGHTS, framework="numpy") as file:
            names = [name for name in file.keys() if not name.endswith(STATISTICS)]  # noqa: SIM118
            return sum(prod(file.get_slice(name).get_shape()) for name in names)
    except (OSError, safetensors.SafetensorError) as error:
        raise CheckpointError(f"The weights {folder / WEIGHTS} cannot be read: {error}") from error


def _usual_name(source: Path) -> str:
    if source.suffix == ONNX:
        return source.stem
    return source.parent.name if source.name == "checkpoint" else source.name


def _check_name(name: str) -> None:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name):
        raise RequestError(
            f"A model's name is made of letters, digits, '.', '_' and '-', and begins with a letter or a digit; found"
            f" '{name}'. Choose one with --name."
        )
    if (shipped_models() / name).exists():
        raise RequestError(
            f"A name must stand for one model, and {name} comes with petavox. Choose another with --name."
        )


def _files(folder: Path) -> Iterator[Path]:
    return (folder / name for name in FILES if (folder / name).is_file())


def _put(unfinished: Path, target: Path) -> None:
    """Gives a folder its name, unless it is there already."""
    if target.exists():
        here, there = ({file.name: file.read_bytes() for file in _files(folder)} for folder in (unfinished, target))
        if here != there:
            raise RequestError(
                f"A model is never written over, and {target} is another one. Choose another name with --name, or"
                " delete that folder."
            )
        return
    unfinished.rename(target)
