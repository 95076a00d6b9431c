"""Runs that were begun before go on: the fingerprints of fixed recipes are those that version 0.1 gave them.

Where one of these differs, runs of before are computed again. That is right where a result changes, together with the
`VERSION` of its task, and never otherwise: not for a file that moves, a class that is renamed, or a key with a default
that changes nothing.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from petavox.pipeline.volumes import VolumeSpec, create_volume
from petavox.workflows.planning.inputs import weights_identity
from petavox.workflows.planning.plan import make_plan
from petavox.workflows.recipes.segmentation_recipe import Model, load
from petavox.workflows.stages.fingerprint import ingredients

SHAPE, VOXELS = (16, 32, 32), (30.0, 6.0, 6.0)
FROM_RAW = """
[input]
raw = "raw.zarr"
[model]
checkpoint = "phantom"
mean = 120.0
deviation = 40.0
[blocks]
shape = [8, 16, 16]
[agglomeration]
threshold = 0.3
small_size = 600
small_threshold = 0.1
[evaluate]
truth = "truth.zarr"
"""
FROM_AFFINITIES = """
[input]
affinities = "affinities.zarr"
offsets = [[1, 0, 0], [0, 1, 0], [0, 0, 1]]
[blocks]
shape = [8, 16, 16]
[supervoxels]
low = 0.05
high = 0.95
join_size = 40
join_affinity = 0.2
[agglomeration]
linkage = "quantile"
quantile = 0.85
levels = 64
threshold = 0.5
"""
STORED = {
    FROM_RAW: {
        "predict": "f6cdd30be3aac7632d6f50dc4ec7f9e7",
        "supervoxels": "2bdbb6de76e926bc2f9684602ad4380f",
        "faces": "8913ad437e499d477afc1a60013c3011",
        "agglomerate-0": "e7639f683f0da3fa55180a0be916539e",
        "agglomerate-1": "db9aed18eb3328b7ac6a77d33241edba",
        "assign-1": "dc55c790e951a76edd99221c69e41bb9",
        "relabel": "d46793bc9c2b49f1760c5064da48e877",
        # Tables count voxels of unknown label since, so that these two are computed again.
        "contingency": "dac1e0b60d5ca2315bbca7ffd202911b",
        "scores": "f7c9d54e6ffa02fc2ce1931e5a907c8a",
    },
    FROM_AFFINITIES: {
        "supervoxels": "fe90551cb4c48c655798fd95d389dc8a",
        "faces": "a14d13ea65d926d1d45f371e62a0e81e",
        "agglomerate-0": "3817930cb4835ed13f06531143be8d4c",
        "agglomerate-1": "505a7ec1f5b8ba7404b4c9da0577c162",
        "assign-1": "c72bf5617a0a98e06134f15cdf334c40",
        "relabel": "f92f9514ecdeddfd4ed15866aa4912cb",
    },
}
# The patches that a model is used with belong to it: runs of before they were measured are not continued with these.
MODELS = {
    "phantom": "f38659b80094adea5bf2fa57cb3c400f",
    "snemi3d": "8612f82fde9b2e6e2e6643da6c08d812",
    "fib25": "6187ce7dc1d592bcbc77c6aeab9b9dfc",
}


@pytest.fixture
def volumes(tmp_path: Path) -> Path:
    for name, dtype, channels in (("raw", "uint8", None), ("truth", "uint64", None), ("affinities", "uint8", 3)):
        create_volume(tmp_path / f"{name}.zarr", VolumeSpec(SHAPE, dtype, VOXELS, channels=channels))
    return tmp_path


@pytest.mark.parametrize("recipe", STORED, ids=["from raw data", "from affinities"])
def test_a_fixed_recipe_has_the_fingerprints_that_it_always_had(volumes: Path, recipe: str) -> None:
    (volumes / "recipe.toml").write_text(recipe)
    plan = make_plan(load(volumes / "recipe.toml"), volumes / "run")
    names = {path: Path(path).name for path in plan.identities}  # in place of the identities of files just written
    made = {stage: mark for stage, (mark, _) in ingredients(plan.stages, plan.directory, names).items()}
    assert made == STORED[recipe]


@pytest.mark.parametrize("model", MODELS)
def test_a_shipped_model_is_the_one_that_it_always_was(model: str) -> None:
    assert weights_identity(Model(checkpoint=model)) == MODELS[model]
