"""A trained network on disk: a folder with weights.safetensors, config.json and a card; nothing executes on loading.

Torch is loaded where weights are, and not before: names, configs and cards can be read without it.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from ..errors import CheckpointError
from ..files import write_bytes
from ..geometry import Triple
from .normalisation import Normalisation

if TYPE_CHECKING:
    from torch import Tensor, nn

WEIGHTS = "weights.safetensors"
CONFIG = "config.json"
CARD = "README.md"
MODELS = "PETAVOX_MODELS"

Network = TypeVar("Network", bound=BaseModel)


class StoredNetwork(BaseModel, Generic[Network]):
    """Holds everything about a network but its weights, whatever it computes.

    Args:
        network: config that builds the module.
        patch: shape of the patches that it was trained on and is used with (z, y, x), in voxels.
        voxel_size: voxel size of the images that it was trained on, in nm (z, y, x).
        normalisation: normalisation of the volume that it was trained on; None where there were several.
        provenance: where it comes from, in words and figures.
        half: whether the weights of convolutions are rounded to half precision and stored so.
        weights_sha256: of the weights file, so that a damaged or exchanged one is noticed.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    network: Network
    patch: Triple
    voxel_size: tuple[float, float, float]
    normalisation: Normalisation | None = None
    provenance: dict[str, str | int | float] = {}
    half: bool = False
    weights_sha256: str = ""


Config = TypeVar("Config", bound=StoredNetwork[Any])


def save_checkpoint(folder: Path, config: Config, weights: Mapping[str, Tensor], card: str | None = None) -> Config:
    """Writes a checkpoint; each file appears whole or not at all.

    Args:
        folder: made unless it is there.
        config: the hash in it is replaced by that of the weights.
        weights: weights by their names in the network.
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
    write_bytes(folder / WEIGHTS, data)
    write_bytes(folder / CONFIG, (config.model_dump_json(indent=2) + "\n").encode())
    if card is not None:
        write_bytes(folder / CARD, card.encode())
    return config


def user_models() -> Path:
    """Returns the folder of a user's own models: $PETAVOX_MODELS, else petavox/models among the user's data.

    The user's data lie in $XDG_DATA_HOME, else ~/.local/share; the folder need not be there.
    """
    data = Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share")
    return Path(os.environ.get(MODELS) or data / "petavox" / "models")


def models_by_name(shipped: Path) -> dict[str, tuple[Path, ...]]:
    """Lists names that stand for models, and their folders: more than one where a user has taken a shipped name.

    Args:
        shipped: folder of the models that come with petavox.
    """
    found: dict[str, tuple[Path, ...]] = {}
    for path in (*user_models().glob(f"*/{CONFIG}"), *shipped.glob(f"*/{CONFIG}")):
        if not path.parent.name.startswith("."):  # which is being added
            found[path.parent.name] = (*found.get(path.parent.name, ()), path.parent)
    return dict(sorted(found.items()))


def find_folder(name: str | Path, shipped: Path, read: Callable[[Path], object]) -> Path:
    """Finds the folder of a checkpoint: a path, the name of a user's model, or a shipped name such as "snemi3d".

    Args:
        name: name of the model, or its folder.
        shipped: folder of the models that come with petavox.
        read: reads the config in a folder; two folders of one name are one model where these are equal.

    Raises:
        CheckpointError: there is no such folder, with the names that there are; or the name stands for two models.
    """
    if (Path(name) / CONFIG).is_file():
        return Path(name).resolve()
    known = models_by_name(shipped)
    folders = known.get(str(name), ())
    if not folders:
        raise CheckpointError(
            f"A checkpoint must be a folder with {CONFIG} and {WEIGHTS}, or the name of a model "
            f"({', '.join(known) or 'there are none'}); found neither at {name}."
        )
    if any(read(folder) != read(folders[0]) for folder in folders[1:]):
        raise CheckpointError(
            f"A name must stand for one model; {name} is {' and '.join(map(str, folders))}, which differ. Name the"
            " folder that is meant, or give the user's own another name."
        )
    return folders[0].resolve()


def read_config(folder: Path, kind: type[Config]) -> Config:
    """Returns the config of a checkpoint of some kind of network, without its weights.

    Raises:
        CheckpointError: it is missing or damaged, or of another kind.
    """
    try:
        return kind.model_validate_json((folder / CONFIG).read_bytes())
    except (OSError, ValidationError) as error:
        raise CheckpointError(f"The checkpoint's {folder / CONFIG} cannot be read: {error}") from error


def load_weights(folder: Path, config: StoredNetwork[Any], network: nn.Module) -> None:
    """Puts the weights of a checkpoint into the network of its config, in float32.

    Raises:
        CheckpointError: they are missing or damaged, or are not those of the config.
    """
    import safetensors.torch

    try:
        data = (folder / WEIGHTS).read_bytes()
    except OSError as error:
        raise CheckpointError(f"The checkpoint's weights {folder / WEIGHTS} cannot be read: {error}") from error
    if hashlib.sha256(data).hexdigest() != config.weights_sha256:
        raise CheckpointError(
            f"The weights {folder / WEIGHTS} are not the ones that {CONFIG} beside them was written with: the file is "
            "damaged, or was exchanged. Copy the checkpoint again."
        )
    try:
        network.load_state_dict(safetensors.torch.load(data))
    except (safetensors.SafetensorError, RuntimeError) as error:
        raise CheckpointError(f"The weights {folder / WEIGHTS} do not fit the network of {CONFIG}: {error}") from error
