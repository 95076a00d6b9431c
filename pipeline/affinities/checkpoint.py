"""A trained network on disk: a folder with weights.safetensors and config.json, nothing that executes on loading."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from pydantic import BaseModel, ConfigDict, ValidationError

from ..errors import AffinityError, CheckpointError
from ..geometry import Triple
from .network import NetworkConfig, ResidualSymmetricUNet
from .normalisation import Normalisation
from .offsets import NEAREST, Offsets, check_offsets

WEIGHTS = "weights.safetensors"
CONFIG = "config.json"


class CheckpointConfig(BaseModel):
    """Everything about a network but its weights.

    Args:
        network: what builds the module.
        patch: shape of the patches that it was trained on and is used with (z, y, x), in voxels.
        voxel_size: of the images that it was trained on, in nm (z, y, x).
        normalisation: of the volume that it was trained on; None where there were several.
        provenance: where it comes from, in words and figures.
        weights_sha256: of the weights file, so that a damaged or exchanged one is noticed.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    network: NetworkConfig
    patch: Triple
    voxel_size: tuple[float, float, float]
    normalisation: Normalisation | None = None
    provenance: dict[str, str | int | float] = {}
    weights_sha256: str = ""


def save_checkpoint(folder: Path, config: CheckpointConfig, weights: Mapping[str, torch.Tensor]) -> None:
    """Writes a checkpoint; each file appears whole or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    data = safetensors.torch.save({name: tensor.detach().cpu().contiguous() for name, tensor in weights.items()})
    config = config.model_copy(update={"weights_sha256": hashlib.sha256(data).hexdigest()})
    write_atomically(folder / WEIGHTS, data)
    write_atomically(folder / CONFIG, (config.model_dump_json(indent=2) + "\n").encode())


def write_atomically(path: Path, data: bytes) -> None:
    """Writes a file so that a reader, or a crash, sees either the old one or the new one."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_bytes(data)
    temporary.replace(path)


def find_checkpoint(name: str | Path) -> Path:
    """The folder of a checkpoint: a shipped name such as "snemi3d", or a path.

    Raises:
        CheckpointError: there is no such folder; names the shipped ones.
    """
    shipped = Path(str(resources.files(__package__) / "checkpoints"))
    for folder in (Path(name), shipped / str(name)):
        if (folder / CONFIG).is_file():
            return folder.resolve()
    names = sorted(path.parent.name for path in shipped.glob(f"*/{CONFIG}"))
    raise CheckpointError(
        f"A checkpoint must be a folder with {CONFIG} and {WEIGHTS}, or a shipped name ({', '.join(names) or 'none'}); "
        f"found neither at {name}."
    )


def read_checkpoint_config(folder: Path) -> CheckpointConfig:
    """The config of a checkpoint, without its weights.

    Raises:
        CheckpointError: it is missing or damaged.
    """
    try:
        return CheckpointConfig.model_validate_json((folder / CONFIG).read_bytes())
    except (OSError, ValidationError) as error:
        raise CheckpointError(f"The checkpoint's {folder / CONFIG} cannot be read: {error}") from error


def check_checkpoint_offsets(folder: Path, needed: Offsets = NEAREST) -> CheckpointConfig:
    """The config of a checkpoint whose first channels have the needed offsets.

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
    """A checkpoint's config and its network, on the CPU in float32, ready for training or for `fold()`.

    Raises:
        CheckpointError: it is missing or damaged, or its weights are not those of its config.
    """
    config = read_checkpoint_config(folder)
    try:
        data = (folder / WEIGHTS).read_bytes()
    except OSError as error:
        raise CheckpointError(f"The checkpoint's weights {folder / WEIGHTS} cannot be read: {error}") from error
    if hashlib.sha256(data).hexdigest() != config.weights_sha256:
        raise CheckpointError(
            f"The weights {folder / WEIGHTS} are not the ones that {CONFIG} beside them was written with: the file is "
            "damaged, or was exchanged. Copy the checkpoint again."
        )
    network = ResidualSymmetricUNet(config.network)
    try:
        weights: dict[str, Any] = safetensors.torch.load(data)
        network.load_state_dict(weights)
    except (safetensors.SafetensorError, RuntimeError) as error:
        raise CheckpointError(f"The weights {folder / WEIGHTS} do not fit the network of {CONFIG}: {error}") from error
    return config, network


def starting_point(folder: Path, network: NetworkConfig) -> tuple[CheckpointConfig, ResidualSymmetricUNet]:
    """The checkpoint that a training starts from.

    Raises:
        CheckpointError: it is missing or damaged, or its network is another one.
    """
    config, module = load_checkpoint(folder)
    if config.network != network:
        wanted, found = network.model_dump(), config.network.model_dump()
        others = [f"{name} {found[name]}, not {wanted[name]}" for name in wanted if wanted[name] != found[name]]
        raise CheckpointError(
            f"A training starts from a checkpoint of the same network; {folder} has {'; '.join(others)}."
            " Leave [network] out of the recipe: it is the checkpoint's then."
        )
    return config, module
