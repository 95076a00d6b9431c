"""Phantom volumes in a training recipe: drawn from their seeds, at the recipe's voxel size."""

from pathlib import Path

import pytest

from petavox.pipeline.affinities.checkpoint import find_checkpoint
from petavox.pipeline.errors import RequestError
from petavox.workflows.models.train import train_from_recipe
from petavox.workflows.recipes import strict_toml
from petavox.workflows.recipes.training_recipe import TrainingRecipe
from petavox.workflows.runs.demo import PHANTOM

TINY = """
voxel_size = [30.0, 6.0, 6.0]
[network]
widths = [2, 2]
stride = [1, 2, 2]
offsets = [[1, 0, 0], [0, 1, 0], [0, 0, 1]]
[training]
patch = [2, 16, 16]
steps = 2
threads = 1
validate_every = 1
[augmentation]
displacement = 2
[[phantom]]
seed = 5
shape = [4, 40, 40]
[[phantom]]
seed = 6
shape = [2, 32, 32]
weight = 1e-9
validation = [{ start = [0, 0, 0], stop = [2, 16, 16] }]
"""


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
