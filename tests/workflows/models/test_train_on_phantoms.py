"""Phantom volumes in a training recipe: drawn from their seeds, at the recipe's voxel size."""

from pathlib import Path

import pytest
from fakes.tiny_training import tiny_training

from petavox.pipeline.affinities.checkpoint import find_checkpoint
from petavox.pipeline.errors import RequestError
from petavox.workflows.models.train import train_from_recipe
from petavox.workflows.recipes import strict_toml
from petavox.workflows.recipes.training_recipe import TrainingRecipe
from petavox.workflows.runs.demo import PHANTOM

VALIDATED = """
[[phantom]]
seed = 6
shape = [2, 32, 32]
weight = 1e-9
validation = [{ start = [0, 0, 0], stop = [2, 16, 16] }]
"""
TINY = tiny_training(2, "validate_every = 1") + VALIDATED


def test_a_recipe_of_phantoms_alone_trains_and_validates(tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(TINY)
    lines: list[dict] = []
    folder = train_from_recipe(recipe, tmp_path / "training", report=lines.append)
    assert find_checkpoint(folder) == folder
    assert any("validation_loss" in line for line in lines)


def test_a_recipe_without_anything_to_train_on_is_refused(tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(TINY[: TINY.index("[[phantom]]")])
    with pytest.raises(RequestError, match=r"something to train on"):
        train_from_recipe(recipe, tmp_path / "training")


def test_the_shipped_network_never_saw_the_phantom_of_the_demo() -> None:
    recipe = strict_toml.read(find_checkpoint("phantom") / "recipe.toml", TrainingRecipe)
    assert PHANTOM.seed not in {phantom.seed for phantom in recipe.phantom}
