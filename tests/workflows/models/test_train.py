import json
from pathlib import Path

import numpy as np
import pytest
import tifffile

import petavox
from petavox.pipeline.affinities.checkpoint import find_checkpoint, load_checkpoint, read_checkpoint_config
from petavox.pipeline.errors import RequestError, VolumeError
from petavox.pipeline.geometry import Box
from petavox.pipeline.volumes import VolumeSpec, create_volume
from petavox.workflows.models.card import read_card, summary
from petavox.workflows.models.train import train_from_recipe
from petavox.workflows.recipes import strict_toml
from petavox.workflows.recipes.training_recipe import TrainingRecipe

SHIPPED = Path(petavox.__file__).resolve().parent / "pipeline" / "affinities" / "checkpoints"

RECIPE = """
voxel_size = [30, 6, 6]

[network]
widths = [2, 3]
stride = [1, 2, 2]

[training]
patch = [4, 16, 16]
steps = 3
threads = 1

[augmentation]
displacement = 4

[[volume]]
raw = "$VOLUMES/raw.tif"
labels = "labels.zarr"
validation = [{ start = [0, 0, 0], stop = [4, 16, 16] }]
"""


@pytest.fixture
def recipe(tmp_path, monkeypatch):
    """A recipe beside its labels, with the raw data elsewhere."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.setenv("VOLUMES", str(elsewhere))
    random = np.random.default_rng(0)
    tifffile.imwrite(elsewhere / "raw.tif", random.integers(0, 255, (8, 32, 32), dtype=np.uint8))
    labels = create_volume(tmp_path / "labels.zarr", VolumeSpec((8, 32, 32), "uint64", (30.0, 6.0, 6.0)))
    labels.write(Box.of_shape((8, 32, 32)), random.integers(0, 3, (8, 32, 32)).astype(np.uint64))
    path = tmp_path / "recipe.toml"
    path.write_text(RECIPE)
    return path


def test_a_recipe_becomes_a_checkpoint_and_a_log_and_is_continued(recipe, tmp_path):
    lines = []
    folder = train_from_recipe(recipe, tmp_path / "training", ["training.seed=5"], lines.append)
    config, _ = load_checkpoint(folder)
    assert config.voxel_size == (30.0, 6.0, 6.0)
    assert config.normalisation is not None
    train_from_recipe(recipe, tmp_path / "training", ["training.seed=5", "training.steps=4"], lines.append)
    logged = [json.loads(line) for line in (tmp_path / "training" / "training_log.jsonl").read_text().splitlines()]
    assert logged == lines
    assert [line["event"] for line in logged if "event" in line] == ["start", "resume"]
    assert [line["step"] for line in logged if "loss" in line] == [1, 2, 3, 4]
    assert "validation_loss" in logged[-1]
    assert (tmp_path / "training" / "curves.png").read_bytes().startswith(b"\x89PNG")


def test_the_card_says_what_is_known_and_what_is_not(recipe, tmp_path):
    folder = train_from_recipe(recipe, tmp_path / "cortex")
    card, config = read_card(folder), read_checkpoint_config(folder)
    assert card.startswith("# cortex\n")
    assert f"trained for {config.provenance['steps']} of 3 steps" in summary(card)
    assert "`$VOLUMES/raw.tif` with the labels `labels.zarr`, without the labels of [0:4, 0:16, 0:16]." in card
    assert f"{config.provenance['validation_score']:.4f}" in card
    assert "does not state by which terms" in card
    assert "validation boxes" not in read_card(tmp_path / "cortex" / "last")  # which no score has chosen


@pytest.mark.parametrize(
    ("wrong", "error", "said"),
    [
        ("training.step=3", RequestError, "Did you mean 'training.steps'"),
        ("network.kernel=[3, 4, 3]", RequestError, "must be odd"),
        ("training.patch=[4, 16, 18]", RequestError, "must be divisible"),
        ('training.precision="float16"', RequestError, "float32"),
    ],
)
def test_a_wrong_value_is_refused(recipe, tmp_path, wrong, error, said):
    with pytest.raises(error, match=said):
        train_from_recipe(recipe, tmp_path / "training", [wrong])
    assert not (tmp_path / "training").exists()


def test_missing_volumes_and_variables_are_refused(recipe, tmp_path, monkeypatch):
    (tmp_path / "elsewhere" / "raw.tif").unlink()
    with pytest.raises(VolumeError, match=r"raw\.tif"):
        train_from_recipe(recipe, tmp_path / "training")
    monkeypatch.delenv("VOLUMES")
    with pytest.raises(RequestError, match="VOLUMES"):
        train_from_recipe(recipe, tmp_path / "training")


def test_volumes_of_another_size_than_the_recipe_says_and_labels_in_another_place_are_refused(recipe, tmp_path):
    for name, dtype, size, place in (
        ("near", "uint8", (30.0, 6.0, 6.0), (0.0, 0.0, 6.0)),
        ("far", "uint64", (30.0, 6.0, 6.0), (0.0, 0.0, 60.0)),
        ("coarse", "uint64", (30.0, 12.0, 12.0), (0.0, 0.0, 0.0)),
    ):
        create_volume(tmp_path / f"{name}.zarr", VolumeSpec((8, 32, 32), dtype, size, place))
    text = recipe.read_text()
    for raw, labels, error, said in (
        ("near.zarr", "far.zarr", VolumeError, r"one place: .*near\.zarr begins.*far\.zarr"),
        ("near.zarr", "coarse.zarr", VolumeError, r"says \[30\.0, 6\.0, 6\.0\].*coarse\.zarr has \[30\.0, 12"),
    ):
        recipe.write_text(text.replace("$VOLUMES/raw.tif", raw).replace("labels.zarr", labels))
        with pytest.raises(error, match=said):
            train_from_recipe(recipe, tmp_path / "training")
        assert not (tmp_path / "training").exists()


@pytest.mark.parametrize("folder", sorted(path.parent for path in SHIPPED.glob("*/config.json")), ids=lambda f: f.name)
def test_a_shipped_checkpoint_is_small_and_was_made_by_the_recipe_and_the_log_beside_it(folder):
    assert find_checkpoint(folder.name) == folder
    config, _ = load_checkpoint(folder)
    recipe = strict_toml.read(folder / "recipe.toml", TrainingRecipe)
    log = [json.loads(line) for line in (folder / "training_log.jsonl").read_text().splitlines()]
    assert sum(path.stat().st_size for path in folder.iterdir()) <= 8_000_000
    assert (config.network, config.patch) == (recipe.network, recipe.training.patch)
    assert config.provenance["steps"] == log[-1].get("best_step", log[-1]["step"])
    assert log[-1]["step"] == recipe.training.steps
    assert log[0]["event"] == "start"
    assert (folder / "curves.png").exists()
