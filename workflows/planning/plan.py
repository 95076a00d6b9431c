"""Makes the plan of a recipe: volumes, stages, bytes and memory. Impossible requests are refused before any writing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...cluster import PoolName
from ...pipeline.affinities.nearest import Channels, read_nearest
from ...pipeline.geometry import BlockGrid, Box, Triple
from ...pipeline.networks.patch_grid import Patches
from ...pipeline.volumes import Volume, VolumeSpec, VoxelScale, check_write_boxes, default_chunks, label_survey, survey
from ...tasks.contract import Density
from ..recipes.segmentation_recipe import Evaluate, Recipe
from ..stages.places import Places
from ..stages.segmentation_stages import SegmentationStages
from ..stages.stage import Frame, Stage
from .inputs import settings_note
from .sources import find_inputs

if TYPE_CHECKING:
    from ...tasks import contingency

WORKER_BYTES = 350_000_000
"""What a worker process takes with everything loaded and next to nothing to do, measured."""

LOOKED_THROUGH = 1 << 31
"""Voxels up to which float affinities are looked through before a run."""


@dataclass(frozen=True)
class Plan:
    """Holds a recipe, checked and spelled out.

    Args:
        recipe: recipe as asked for, with the values that were found out added to it.
        directory: directory of the run, absolute.
        grid: grid of the blocks.
        stages: each after those that it needs.
        places: places of everything that the run writes.
        volumes: volumes that the run makes, by path.
        identities: identities of the inputs, by the path that configs hold.
        foundation: settings that must stay the same for the run to be continued in its directory.
        memory: bytes that a worker may use.
        density: density of the supervoxels' graph.
        density_note: why the density is none that was sampled, if so.
        patches: patches of the network, if there is one.
        channels: where the nearest-neighbour affinities lie in their volume.
        truth_offset: where the truth's first voxel lies in the segmentation, if there is a truth.
        scale: the voxels of the raw data against those of the network's training, if a network is used.
        remarks: what a user must be told of the volumes that the run reads.
    """

    recipe: Recipe
    directory: Path
    grid: BlockGrid
    stages: tuple[Stage, ...]
    places: Places
    volumes: Mapping[str, VolumeSpec]
    identities: Mapping[str, str]
    foundation: Mapping[str, Any]
    memory: int
    density: Density
    density_note: str | None
    patches: Patches | None
    channels: Channels
    truth_offset: Triple | None
    scale: VoxelScale | None
    remarks: tuple[str, ...] = ()

    def workers(self, pool: PoolName) -> int:
        """Counts the workers that the recipe gives to a pool."""
        return self.recipe.cluster.most_workers(pool)

    def worker_memory(self, pool: PoolName) -> int:
        """Counts the bytes that one worker of a pool may use."""
        jobs = self.recipe.cluster.jobs(pool)
        return self.memory if jobs is None else jobs.worker_memory


def make_plan(recipe: Recipe, directory: Path) -> Plan:
    """Checks a recipe against the data that is there, and spells it out. Writes nothing.

    Raises:
        RequestError: something cannot work; the message says what, where, and the cure.
    """
    directory = directory.absolute()
    places = Places.of(recipe, directory)
    inputs = find_inputs(recipe, places)
    grid, around = inputs.grid, inputs.recipe.input.run
    frame = Frame(inputs.source.spec, *_chunks(recipe.output.chunk, grid))
    counting = _contingency(recipe, grid, places, frame.labels("uint64"))
    stages = SegmentationStages(
        inputs.recipe, grid, places, frame, inputs.offsets, inputs.affinity_bytes, inputs.density
    ).build(inputs.predict, counting)
    volumes = {path: spec for stage in stages for path, spec in stage.volumes.items()}
    for spec in volumes.values():
        check_write_boxes(grid, spec)
    return Plan(
        recipe=inputs.recipe if around is None else inputs.recipe.written_in(directory, moving=around),
        directory=directory,
        grid=grid,
        stages=stages,
        places=places,
        volumes=volumes,
        identities={**inputs.identities, **_scored_identities(recipe.evaluate)},
        foundation={**inputs.foundation, **_blocks(recipe)},
        memory=recipe.cluster.worker_memory("cpu"),
        density=inputs.density,
        density_note=inputs.density_note,
        patches=inputs.patches,
        channels=Channels() if inputs.offsets is None else Channels.of_offsets(inputs.offsets),
        truth_offset=None if counting is None else counting.offset,
        scale=inputs.scale,
        remarks=(*_remarks(recipe, inputs.source), *filter(None, [settings_note(recipe)])),
    )


def _remarks(recipe: Recipe, source: Volume) -> tuple[str, ...]:
    """Tells what a user must know of the volumes that a run reads; the supervoxels of another run are known."""
    if recipe.input.run is not None:
        return ()
    wanted = [recipe.input.mask, *((recipe.evaluate.truth, recipe.evaluate.mask) if recipe.evaluate else ())]
    volumes = [source, *(named.open() for named in wanted if named is not None)]
    found = [remark for volume in volumes for remark in (*volume.remarks, *survey(volume))]
    return (*found, *(label_survey(recipe.evaluate.truth.open()) if recipe.evaluate else ()))


def look_through(plan: Plan) -> None:
    """Look at all float affinities, which is too slow to be part of every plan.

    Raises:
        AffinityError: they hold NaN or values outside [0, 1]. Volumes above `LOOKED_THROUGH` voxels are not looked
            through; there the first such block ends the run.
    """
    source = plan.recipe.input.affinities
    if source is None or plan.grid.covered.voxels > LOOKED_THROUGH:
        return
    volume = source.open()
    if volume.spec.dtype == "uint8":
        return
    for index in plan.grid.indices():
        read_nearest(volume.read, plan.grid.box(index), plan.grid.volume, plan.channels, volume.path)


def _blocks(recipe: Recipe) -> dict[str, Any]:
    """Lists the settings of the blocks, by the recipe's names."""
    box = {} if recipe.input.box is None else {"input.box": [list(corner) for corner in recipe.input.box]}
    return {"blocks.shape": list(recipe.blocks.shape), **box}


def _chunks(asked: Triple | None, grid: BlockGrid) -> tuple[Triple, Triple | None]:
    return default_chunks(grid.block, grid.volume) if asked is None else (asked, None)


def _contingency(
    recipe: Recipe, grid: BlockGrid, places: Places, segmentation: VolumeSpec
) -> contingency.Config | None:
    from ..stages.scoring import plan_contingency

    wanted = recipe.evaluate
    if wanted is None:
        return None
    return plan_contingency(
        places.segmentation,
        segmentation,
        wanted.truth,
        block=grid.block,
        region=grid.region,
        tables=places.tables,
        mask=wanted.mask,
        offset=wanted.offset,
        box=None if wanted.box is None else Box(*wanted.box),
        tolerance=wanted.tolerance,
    )


def _scored_identities(wanted: Evaluate | None) -> dict[str, str]:
    volumes = [] if wanted is None else [wanted.truth, wanted.mask]
    return {volume.path: volume.open().identity() for volume in volumes if volume is not None}
