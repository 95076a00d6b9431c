"""`petavox demo`: a phantom volume, its affinities, its segments and their scores, all in one directory."""

from __future__ import annotations

import shutil
from decimal import Decimal
from pathlib import Path

from ...pipeline.geometry import BlockGrid, Triple
from ...pipeline.phantom import Phantom, PhantomConfig
from ...pipeline.volumes import VolumeSource, VolumeSpec, create_volume, default_chunks
from ..progress import Progress
from ..recipes.cluster_section import Cluster
from ..recipes.segmentation_recipe import Agglomeration, Blocks, Evaluate, Input, Model, Output, Recipe
from ..report.ending import Ending
from .run import run

SHAPE: Triple = (64, 512, 512)
BLOCK: Triple = (64, 256, 256)
PHANTOM = PhantomConfig(seed=1)  # the network was trained on others
CHECKPOINT = "phantom"


def run_demo(directory: Path, workers: int, progress: Progress, shape: Triple = SHAPE) -> Ending:
    """Make a phantom unless it is there, and run its recipe, or continue its run.

    Args:
        directory: directory for everything that the demo makes.
        workers: processes.
        progress: is told what happens.
        shape: shape of the phantom, in voxels.
    """
    directory = directory.absolute()
    raw, truth = directory / "em.zarr", directory / "truth.zarr"
    if not (raw.exists() and truth.exists()):
        progress.note(f"Drawing a phantom of {' × '.join(map(str, shape))} voxels")
        _draw(raw, truth, shape)
    return run(_recipe(raw, truth, workers), directory, progress)


def _recipe(raw: Path, truth: Path, workers: int) -> Recipe:
    return Recipe(
        input=Input(raw=VolumeSource.of(raw)),
        model=Model(checkpoint=CHECKPOINT),
        blocks=Blocks(shape=BLOCK),
        # Chosen on phantoms of other seeds than this one.
        agglomeration=Agglomeration(threshold=Decimal("0.3"), small_size=600, small_threshold=Decimal("0.1")),
        output=Output(),
        evaluate=Evaluate(truth=VolumeSource.of(truth)),
        cluster=Cluster(kind="local", workers=workers),
    )


def _draw(raw: Path, truth: Path, shape: Triple) -> None:
    """Both volumes, block by block; they get their names when they are whole."""
    grid, phantom = BlockGrid(shape, BLOCK), Phantom(PHANTOM)
    chunk, shard = default_chunks(BLOCK, shape)
    unfinished = [path.with_name(f".{path.name}") for path in (raw, truth)]
    for path in (raw, truth, *unfinished):
        shutil.rmtree(path, ignore_errors=True)
    image, labels = (
        create_volume(path, VolumeSpec(shape, dtype, PHANTOM.voxel_size, chunk=chunk, shard=shard))
        for path, dtype in zip(unfinished, ("uint8", "uint64"), strict=True)
    )
    for index in grid.indices():
        box = grid.box(index)
        grey, neurites = phantom.read(box)
        image.write(box, grey)
        labels.write(box, neurites)
    for path, whole in zip(unfinished, (raw, truth), strict=True):
        path.rename(whole)
