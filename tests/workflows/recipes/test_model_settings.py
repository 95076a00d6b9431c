"""A recipe that names a model has the settings that were tuned for it, and what the recipe states wins."""

from __future__ import annotations

from decimal import Decimal

import pytest

from petavox.pipeline.affinities.checkpoint import Settings, find_checkpoint, read_checkpoint_config
from petavox.pipeline.errors import RequestError
from petavox.workflows.models.catalogue import add_model, write_settings
from petavox.workflows.recipes.segmentation_recipe import load

RAW = 'input.raw = "em.zarr"\nmodel.checkpoint = "{model}"\n'


def recipe(tmp_path, text="", model="snemi3d"):
    path = tmp_path / "recipe.toml"
    path.write_text(RAW.format(model=model) + text)
    return load(path)


@pytest.mark.parametrize("model", ["snemi3d", "fib25"])
def test_a_recipe_that_names_a_model_and_nothing_else_has_what_was_tuned_for_it(tmp_path, model):
    found, tuned = recipe(tmp_path, model=model), read_checkpoint_config(find_checkpoint(model)).settings
    for section in ("supervoxels", "agglomeration"):
        for key, value in getattr(tuned, section).items():
            expected = value if isinstance(value, str) else pytest.approx(value)
            stated = getattr(getattr(found, section), key)
            assert (float(stated) if isinstance(stated, Decimal) else stated) == expected


def test_what_the_recipe_states_wins_key_by_key(tmp_path):
    found = recipe(tmp_path, "agglomeration.threshold = 0.25\nsupervoxels.low = 0.05\n")
    assert found.agglomeration.threshold == Decimal("0.25")
    assert found.agglomeration.linkage == "quantile"
    assert (found.supervoxels.low, found.supervoxels.high) == (Decimal("0.05"), Decimal("0.95"))


def test_another_linkage_has_none_of_the_tuned_thresholds(tmp_path):
    found = recipe(tmp_path, 'agglomeration.linkage = "mean"\n').agglomeration
    assert (found.threshold, found.dust_size) == (Decimal("0.5"), 100)


def test_a_run_keeps_what_its_recipe_says_whatever_the_model_says_later(tmp_path, monkeypatch):
    monkeypatch.setenv("PETAVOX_MODELS", str(tmp_path / "models"))
    add_model(find_checkpoint("snemi3d"), "mine")
    before = read_checkpoint_config(find_checkpoint("mine"))
    write_settings("mine", Settings(agglomeration={"threshold": 0.125}))
    assert recipe(tmp_path, model="mine").agglomeration.threshold == Decimal("0.125")
    assert recipe(tmp_path, model="mine").agglomeration.linkage == "mean"
    after = read_checkpoint_config(find_checkpoint("mine"))
    assert after.weights_sha256 == before.weights_sha256


def test_shipped_models_are_not_written_into(tmp_path):
    with pytest.raises(RequestError, match=r"shipped with petavox\. Copy it first"):
        write_settings("snemi3d", Settings())
