"""The documented way from a shipped network to one for a few sections of one's own, on a small piece of phantom."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import tifffile

from petavox.pipeline.affinities.checkpoint import find_checkpoint, load_checkpoint
from petavox.pipeline.errors import CheckpointError, RequestError
from petavox.pipeline.geometry import Box
from petavox.pipeline.phantom import Phantom, PhantomConfig
from petavox.workflows.models.train import train_from_recipe
from petavox.workflows.recipes import strict_toml
from petavox.workflows.recipes.training_recipe import TrainingRecipe

PAGE = Path(__file__).parents[3] / "docs" / "training.md"
SHAPE = (8, 48, 48)
BOX = "[{ start = [0, 0, 0], stop = [4, 32, 32] }]"
SMALL = [
    "start=phantom",
    "training.patch=[4, 32, 32]",
    "training.steps=2",
    "training.learning_rate=1e-5",
    "training.threads=1",
    "training.validate_every=1",
    "augmentation.displacement=2",
    f'volume=[{{ raw = "sections.tif", labels = "labels.tif", mask = "mask.tif", validation = {BOX} }}]',
]


@pytest.fixture
def recipe(tmp_path):
    """The recipe of the page, beside sections of a phantom, of which six are labelled."""
    section = PAGE.read_text().partition("## From a shipped network")[2]
    lines = [line[4:] for line in section.splitlines() if line.startswith("    ")]
    (tmp_path / "recipe.toml").write_text("\n".join(lines))
    image, names = Phantom(PhantomConfig(seed=12)).read(Box.of_shape(SHAPE))
    labels = np.unique(names, return_inverse=True)[1].reshape(SHAPE).astype(np.uint16) + 1
    mask = np.ones(SHAPE, np.uint8)
    mask[6:] = 0
    for name, array in (("sections", image), ("labels", labels), ("mask", mask)):
        tifffile.imwrite(tmp_path / f"{name}.tif", array)
    return tmp_path / "recipe.toml"


def first_loss(directory):
    lines = [json.loads(line) for line in (directory / "training_log.jsonl").read_text().splitlines()]
    return next(line["loss"] for line in lines if "loss" in line)


def test_the_recipe_of_the_page_is_one(recipe):
    found = strict_toml.read(recipe, TrainingRecipe)
    assert found.start == "snemi3d"
    assert "network" not in found.model_fields_set


def test_a_shipped_network_is_trained_further(recipe, tmp_path):
    lines = []
    folder = train_from_recipe(recipe, tmp_path / "tuned", SMALL, lines.append)
    config, _ = load_checkpoint(folder)
    shipped, _ = load_checkpoint(find_checkpoint("phantom"))
    assert config.network == shipped.network
    assert config.provenance["start_weights_sha256"] == shipped.weights_sha256
    assert [line["step"] for line in lines if "validation_score" in line] == [0, 1, 2]
    assert first_loss(tmp_path / "tuned") < first_loss(from_nothing(recipe, tmp_path, shipped.network))


def from_nothing(recipe, tmp_path, network):
    """The directory of the same training, but for its start."""
    content = recipe.read_text().replace("start =", "#", 1)
    offsets = ", ".join(str(list(offset)) for offset in network.offsets)
    shape = f"network.widths={list(network.widths)}", f"network.offsets=[{offsets}]"
    (tmp_path / "anew.toml").write_text(content)
    train_from_recipe(tmp_path / "anew.toml", tmp_path / "anew", [*SMALL[1:], *shape, "network.stride=[1, 2, 2]"])
    return tmp_path / "anew"


def test_another_network_than_that_of_the_start_is_refused(recipe, tmp_path):
    with pytest.raises(CheckpointError, match=r"same network, .*phantom has widths .*, not \(4, 8\)"):
        train_from_recipe(recipe, tmp_path / "tuned", [*SMALL, "network.widths=[4, 8]"])
    with pytest.raises(RequestError, match=r"name of a model \(.*phantom.*\); found neither at nowhere"):
        train_from_recipe(recipe, tmp_path / "tuned", [*SMALL, "start=nowhere"])
    assert not (tmp_path / "tuned").exists()
