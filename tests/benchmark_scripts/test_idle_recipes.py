"""The recipes of the idle trainings: from shipped networks, and without any label that is reported or chooses."""

from pathlib import Path

import pytest

from petavox.pipeline.affinities.checkpoint import find_checkpoint, read_checkpoint_config
from petavox.pipeline.geometry import Box
from petavox.workflows.models.idle import IDLE
from petavox.workflows.recipes import strict_toml
from petavox.workflows.recipes.training_recipe import TrainingRecipe

RECIPES = Path(__file__).parents[2] / "benchmarks" / "accuracy" / "idle"
LEFT_OUT = {
    "snemi3d": [Box((50, 512, 512), (94, 1024, 1024))],
    "fib25": [Box((125, 0, 0), (250, 250, 250)), Box((0, 0, 200), (125, 250, 250))],
}


@pytest.mark.parametrize("name", LEFT_OUT)
def test_a_recipe_goes_on_from_the_shipped_network_and_leaves_out_what_is_reported(name):
    recipe = strict_toml.read(RECIPES / f"{name}.toml", TrainingRecipe, IDLE)
    (volume,) = recipe.volume
    assert [box.box for box in volume.exclude] == LEFT_OUT[name]
    assert volume.validation == ()
    assert recipe.training.threads == recipe.training.batch == 1
    shipped = read_checkpoint_config(find_checkpoint(recipe.start))
    assert recipe.training.patch == shipped.patch
    if "network" in recipe.model_fields_set:
        assert recipe.network == shipped.network
