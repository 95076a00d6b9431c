"""A trained network on disk: a folder with weights.safetensors, config.json and a card; nothing executes on loading.

Torch is loaded where weights are, and not before: names, configs and cards can be read without it.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, ValidationError

from ..errors import AffinityError, CheckpointError
from ..geometry import Triple
from ..networks.normalisation import Normalisation
from .network_config import NetworkConfig
from .offsets import NEAREST, Offsets, check_offsets

if TYPE_CHECKING:
    from torch import Tensor

    from .unet import ResidualSymmetricUNet

WEIGHTS = "weights.safetensors"
CONFIG = "config.json"
CARD = "README.md"
MODELS = "PETAVOX_MODELS"


class CheckpointConfig(BaseModel):
    """Everything about a network but its weights.

    Args:
        network: what builds the module.
        patch: shape of the patches that it was trained on and is used with (z, y, x), in voxels.
        voxel_size: of the images that it was trained on, in nm (z, y, x).
        normalisation: of the volume that it was trained on; None where there were several.
        provenance: where it comes from, in words and figures.
        half: whether the weights of convolutions are rounded to half precision and stored so.
        weights_sha256: of the weights file, so that a damaged or exchanged one is noticed.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    network: NetworkConfig
    patch: Triple
    voxel_size: tuple[float, float, float]
    normalisation: Normalisation | None = None
    provenance: dict[str, str | int | float] = {}
    half: bool = False
    weights_sha256: str = ""


def save_checkpoint(
    folder: Path, config: CheckpointConfig, weights: Mapping[str, Tensor], card: str | None = None
) -> CheckpointConfig:
    """Writes a checkpoint; each file appears whole or not at all.

    Args:
        folder: made unless it is there.
        config: the hash in it is replaced by that of the weights.
        weights: by their names in the network.
        card: what there is to know about the model, in Markdown; a card that is there is kept unless one is given.

    Returns:
        The config as it was written.
    """
    import safetensors.torch

    folder.mkdir(parents=True, exist_ok=True)
    kept = {name: tensor.detach().cpu().contiguous() for name, tensor in weights.items()}
    if config.half:
        kept = {name: tensor.half() if tensor.ndim > 1 else tensor for name, tensor in kept.items()}
    data = safetensors.torch.save(kept)
    config = config.model_copy(update={"weights_sha256": hashlib.sha256(data).hexdigest()})
    write_atomically(folder / WEIGHTS, data)
    write_atomically(folder / CONFIG, (config.model_dump_json(indent=2) + "\n").encode())
    if card is not None:
        write_atomically(folder / CARD, card.encode())
    return config


def write_atomically(path: Path, data: bytes) -> None:
    """Writes a file so that a reader, or a crash, sees either the old one or the new one."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_bytes(data)
    temporary.replace(path)


def shipped_models() -> Path:
    """The folder of the models that come with petavox."""
    return Path(str(resources.files(__package__) / "checkpoints"))


def user_models() -> Path:
    """The folder of a user's own models, which need not be there: $PETAVOX_MODELS, or petavox/models among the user's
    data ($XDG_DATA_HOME, ~/.local/share)."""
    data = Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share")
    return Path(os.environ.get(MODELS) or data / "petavox" / "models")


def known_models() -> dict[str, tuple[Path, ...]]:
    """Names that stand for models, in order, and their folders: more than one where a user has taken a shipped name."""
    found: dict[str, tuple[Path, ...]] = {}
    for path in (*user_models().glob(f"*/{CONFIG}"), *shipped_models().glob(f"*/{CONFIG}")):
        if not path.parent.name.startswith("."):  # which is being added
            found[path.parent.name] = (*found.get(path.parent.name, ()), path.parent)
    return dict(sorted(found.items()))


def find_checkpoint(name: str | Path) -> Path:
    """The folder of a checkpoint: a path, the name of one of the user's models, or a shipped name such as "snemi3d".

    Raises:
        CheckpointError: there is no such folder, with the names that there are; or the name stands for two models.
    """
    if (Path(name) / CONFIG).is_file():
        return Path(name).resolve()
    known = known_models()
    folders = known.get(str(name), ())
    if not folders:
        raise CheckpointError(
            f"A checkpoint must be a folder with {CONFIG} and {WEIGHTS}, or the name of a model "
            f"({', '.join(known) or 'there are none'}); found neither at {name}."
        )
    if any(read_checkpoint_config(folder) != read_checkpoint_config(folders[0]) for folder in folders[1:]):
        raise CheckpointError(
            f"A name must stand for one model; {name} is {' and '.join(map(str, folders))}, which differ. Name the"
            " folder that is meant, or give the user's own another name."
        )
    return folders[0].resolve()


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
    import safetensors.torch

    from .unet import ResidualSymmetricUNet

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
        network.load_state_dict(safetensors.torch.load(data))
    except (safetensors.SafetensorError, RuntimeError) as error:
        raise CheckpointError(f"The weights {folder / WEIGHTS} do not fit the network of {CONFIG}: {error}") from error
    return config, network


def starting_point(folder: Path, network: NetworkConfig) -> tuple[CheckpointConfig, ResidualSymmetricUNet]:
    """The checkpoint that a training starts from: of the same network, or of one with fewer feature maps.

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
