"""The settings of a training, as its log and its state have them, and which of them may change on resuming."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..errors import CheckpointError
from .augmentation_config import AugmentationConfig
from .network_config import NetworkConfig
from .sampling import PATCHES, TrainingVolume
from .training_config import TrainingConfig
from .validation import ScoringConfig

Settings = dict[str, dict[str, Any]]
"""Plain values by table and name."""

MAY_CHANGE = {
    *("steps", "minutes", "anneal", "threads", "device", "compile", "keep"),
    *("log_every", "validate_every", "save_every", "save_minutes"),
}
"""Settings that a resumed run may have other values of than the run that it resumes."""

TABLES = {
    "network": NetworkConfig,
    "augmentation": AugmentationConfig,
    "training": TrainingConfig,
    "scoring": ScoringConfig,
}


def settings_of(
    network: NetworkConfig,
    augmentation: AugmentationConfig,
    training: TrainingConfig,
    scoring: ScoringConfig,
    volumes: Sequence[TrainingVolume],
    start_weights: str | None,
) -> Settings:
    """Lists everything that the result of a training depends on.

    Args:
        network, augmentation, training, scoring: tables of the recipe.
        volumes: volumes that are trained on.
        start_weights: hash of the weights that training starts from, if it does not start from nothing.
    """
    tables = {"network": network, "augmentation": augmentation, "training": training, "scoring": scoring}
    settings: Settings = {"sampling": {"patches": PATCHES}}
    settings |= {name: table.model_dump(mode="json") for name, table in tables.items()}
    settings["volumes"] = {str(number): volume.identity() for number, volume in enumerate(volumes)}
    settings["start"] = {"weights_sha256": start_weights}
    return settings


def check_unchanged(settings: Settings, before: Settings, directory: Path) -> None:
    """Makes sure that a training goes on with the settings that it began with.

    Raises:
        CheckpointError: one that may not change has changed.
    """
    for table, now in settings.items():
        # A state may be older than a setting, which then had its default, and than what is known of volumes.
        defaults = TABLES[table]().model_dump(mode="json") if table in TABLES else {}
        known = defaults | before.get(table, now if table == "volumes" else {})
        for name in {**known, **now}:
            if name not in MAY_CHANGE and known.get(name) != now.get(name):
                raise CheckpointError(
                    f"A resumed training must have the settings that it began with: [{table}] {name} was "
                    f"{known.get(name)} in {directory} and is {now.get(name)} now. Use another directory."
                )
