"""Settings that come with a model, for which they were tuned: a recipe that names the model has them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ...pipeline.affinities.checkpoint import Settings, find_checkpoint, read_checkpoint_config
from ...pipeline.errors import CheckpointError

SECTIONS = ("supervoxels", "agglomeration")


def with_settings(content: Mapping[str, Any], folder: Path | None) -> Mapping[str, Any]:
    """Lays the settings of a recipe's model below those that the recipe states.

    A recipe with another linkage than the model's keeps only the model's `dust_size`: thresholds mean something else
    then. A recipe with the mutex watershed keeps nothing of the model.

    Args:
        content: the recipe as TOML or JSON gives it.
        folder: folder that a checkpoint's path is relative to.
    """
    tables = [content.get(name, {}) for name in ("model", *SECTIONS)]
    if not all(isinstance(table, Mapping) for table in tables):
        return content  # made of models, or wrong
    model, supervoxels, agglomeration = tables
    settings = settings_of(str(model.get("checkpoint", "")), folder)
    if settings is None or supervoxels.get("method", "watershed") != "watershed":
        return content
    own = dict(settings.agglomeration)
    linkage = own.get("linkage", "mean")
    if agglomeration.get("linkage", linkage) != linkage:
        own = {key: value for key, value in own.items() if key == "dust_size"}
    return {
        **content,
        "supervoxels": {**settings.supervoxels, **supervoxels},
        "agglomeration": {**own, **agglomeration},
    }


def settings_of(checkpoint: str, folder: Path | None) -> Settings | None:
    """Returns the settings that come with a model; None where there are none, or no such model."""
    if not checkpoint:
        return None
    beside = None if folder is None else folder / checkpoint
    try:
        found = beside if beside is not None and (beside / "config.json").is_file() else find_checkpoint(checkpoint)
        return read_checkpoint_config(found).settings
    except CheckpointError:
        return None  # told where the network is needed
