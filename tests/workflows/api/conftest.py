"""Two small worlds for the door of notebooks: a folder with affinities and their run, and one that examples live in."""

from __future__ import annotations

import numpy as np
import pytest
import tifffile
from fakes.tiny_training import tiny_training

import petavox
from petavox.pipeline.geometry import Box
from petavox.pipeline.phantom import Phantom, PhantomConfig
from petavox.pipeline.volumes import VolumeSpec, create_volume

SHAPE = (10, 40, 36)
NEAREST = ((1, 0, 0), (0, 1, 0), (0, 0, 1))
EXAMPLES = (16, 128, 128)
RECIPE = """
[input]
raw = "em.zarr"
[model]
checkpoint = "phantom"
[blocks]
shape = [16, 64, 128]
[agglomeration]
threshold = 0.3
[evaluate]
truth = "labels.zarr"
[cluster]
kind = "serial"
"""
TRAINING = tiny_training(4)


@pytest.fixture(scope="session")
def small(tmp_path_factory):
    """A folder with random affinities and a truth, and the dict of a recipe for them."""
    folder = tmp_path_factory.mktemp("small")
    affinities = np.random.default_rng(7).integers(0, 256, (3, *SHAPE)).astype(np.uint8)
    spec = VolumeSpec(SHAPE, "uint8", (30, 6, 6), channels=3, offsets=NEAREST, chunk=(5, 20, 36))
    create_volume(folder / "affinities.zarr", spec).write(Box.of_shape(SHAPE), affinities)
    truth = create_volume(folder / "truth.zarr", VolumeSpec(SHAPE, "uint64", (30, 6, 6), chunk=SHAPE))
    truth.write(Box.of_shape(SHAPE), petavox.segment(affinities, join_size=10, threshold=0.6))
    return folder


def recipe_of(small):
    return {
        "input": {"affinities": small / "affinities.zarr"},
        "blocks": {"shape": (5, 20, 36)},
        "supervoxels.join_size": 10,
        "agglomeration.threshold": 0.6,
        "evaluate": {"truth": small / "truth.zarr"},
        "cluster": {"kind": "serial"},
    }


@pytest.fixture
def recipe(small):
    """The recipe of a run of it, as a dict."""
    return recipe_of(small)


@pytest.fixture(scope="session")
def finished(small):
    """The directory of its run, which is done; no test changes what is in it."""
    petavox.run(recipe_of(small), small / "run", progress=False)
    return small / "run"


@pytest.fixture(scope="session")
def examples(tmp_path_factory):
    """The folder that examples live in: a phantom as sections and as a volume, its labels, recipes, and a run."""
    folder = tmp_path_factory.mktemp("examples")
    raw, labels = Phantom(PhantomConfig(seed=1)).read(Box.of_shape(EXAMPLES))
    (folder / "sections").mkdir()
    for z, section in enumerate(raw):
        tifffile.imwrite(folder / "sections" / f"{z:03}.tif", section)
    tifffile.imwrite(folder / "labels.tif", labels)
    petavox.convert(folder / "sections", folder / "em.zarr", voxel_size=(30, 6, 6), progress=False)
    petavox.convert(folder / "labels.tif", folder / "labels.zarr", voxel_size=(30, 6, 6), progress=False)
    (folder / "recipe.toml").write_text(RECIPE)
    (folder / "training.toml").write_text(TRAINING)
    petavox.run(folder / "recipe.toml", folder / "runs" / "recipe", progress=False)
    return folder
