"""What a recipe comes to: volumes, stages, bytes and memory. What cannot work is refused here, before any writing."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...cluster import PoolName
from ...pipeline.affinities.nearest import Channels, read_nearest
from ...pipeline.affinities.offsets import NEAREST, Offsets
from ...pipeline.errors import AffinityError
from ...pipeline.geometry import BlockGrid, Box, Triple
from ...pipeline.networks.patch_grid import Patches
from ...pipeline.volumes import Volume, VolumeSource, VolumeSpec, check_write_boxes, default_chunks
from ...tasks.contract import Density, TaskConfig
from ..recipes.segmentation_recipe import Model, Recipe
from ..run_directory.affinities import region_of
from ..stages.places import Places
from ..stages.segmentation_stages import SegmentationStages
from ..stages.stage import Stage
from .inputs import (
    checkpoint_folder,
    mask_of,
    network_cost,
    offsets_of,
    source_of,
    weights_identity,
    with_normalisation,
)
from .sampled_density import sample_density
from .voxel_scale import VoxelScale, scale_of

if TYPE_CHECKING:
    from ...tasks import contingency

WORKER_BYTES = 350_000_000
"""What a worker process takes with everything loaded and next to nothing to do, measured."""

LOOKED_THROUGH = 1 << 31
"""Voxels up to which float affinities are looked through before a run."""


@dataclass(frozen=True)
class Plan:
    """A recipe, checked and spelled out.

    Args:
        recipe: as asked for, with what was found out added to it.
        directory: of the run, absolute.
        grid: of the blocks.
        stages: each after those that it needs.
        places: of everything that the run writes.
        volumes: what it makes, by path.
        identities: of what it only reads, by the path that configs hold.
        foundation: what must stay the same for the run to be continued in its directory.
        memory: bytes that a worker may use.
        density: of the supervoxels' graph.
        density_note: why the density is none that was sampled, if so.
        operations: of the network for a voxel of a patch; 0 without one.
        patches: of the network, if there is one.
        channels: where the nearest-neighbour affinities lie in their volume.
        truth_offset: where the truth's first voxel lies in the segmentation, if there is a truth.
        scale: the voxels of the raw data against those of the network's training, if a network is used.
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
    operations: float
    patches: Patches | None
    channels: Channels
    truth_offset: Triple | None
    scale: VoxelScale | None

    def workers(self, pool: PoolName) -> int:
        """How many workers the recipe gives to a pool."""
        return self.recipe.cluster.most_workers(pool)

    def worker_memory(self, pool: PoolName) -> int:
        """Bytes that one of them may use."""
        jobs = self.recipe.cluster.jobs(pool)
        return self.memory if jobs is None else jobs.worker_memory


def make_plan(recipe: Recipe, directory: Path) -> Plan:
    """Check a recipe against what is there, and spell it out. Writes nothing.

    Raises:
        RequestError: something cannot work; the message says what, where, and the cure.
    """
    directory = directory.absolute()
    places = Places.of(recipe, directory)
    source, identities = source_of(recipe, places)
    grid = BlockGrid(source.spec.shape, recipe.blocks.shape, region_of(recipe))
    chunk, shard = _chunks(recipe, grid)
    segmentation, segmented = _labels(source.spec, "uint64", chunk, shard), recipe.output.until == "segmentation"
    volumes = {places.segmentation: segmentation} if segmented else {}
    predict, offsets, affinity_bytes, scale = None, None, 1, None
    network: tuple[float, Patches | None] = (0.0, None)
    if recipe.input.run is None and segmented:
        volumes[places.fragments] = _labels(source.spec, "uint32", chunk, shard)
    raw, mask = recipe.input.raw, mask_of(recipe, source)
    if recipe.input.mask is not None and mask is not None:
        identities[recipe.input.mask.path] = mask.identity()
    if recipe.model is not None and raw is not None:
        model, offsets = with_normalisation(recipe.model, source, mask), NEAREST
        recipe = recipe.model_copy(update={"model": model})
        predict = _prediction(recipe, model, raw, places)
        volumes[str(places.affinities)] = _affinities(source.spec, chunk, shard)
        identities[checkpoint_folder(model)], network = weights_identity(model), network_cost(model)
        scale = scale_of(model, source)
    elif recipe.input.affinities is not None:
        offsets, affinity_bytes = offsets_of(recipe, source)
    for spec in volumes.values():
        check_write_boxes(grid, spec)
    counting = _contingency(recipe, grid, places, segmentation, identities)
    density, density_note = _density(recipe, source, grid, offsets)
    stages = SegmentationStages(recipe, grid, places, offsets, affinity_bytes, density).build(predict, counting)
    return Plan(
        recipe=_movable(recipe, directory),
        directory=directory,
        grid=grid,
        stages=stages,
        places=places,
        volumes=volumes,
        identities=identities,
        foundation=_foundation(recipe, source, identities),
        memory=recipe.cluster.worker_memory("cpu"),
        density=density,
        density_note=density_note,
        operations=network[0],
        patches=network[1],
        channels=Channels() if offsets is None else Channels.of_offsets(offsets),
        truth_offset=None if counting is None else counting.offset,
        scale=scale,
    )


def _density(recipe: Recipe, source: Volume, grid: BlockGrid, offsets: Offsets | None) -> tuple[Density, str | None]:
    """The density of the supervoxels' graph, and a note where it is assumed and not sampled."""
    if recipe.output.until == "affinities":
        return Density(), None
    assumed = "memory, hours and bytes are those of the densest graph known, of noisy affinities with high = 0.9999."
    if recipe.input.affinities is None or offsets is None:
        return Density(), f"There are no affinities to sample: {assumed}"
    if recipe.supervoxels.method != "watershed":
        return Density(), f"Supervoxels of method '{recipe.supervoxels.method}' are not sampled: {assumed}"
    with contextlib.suppress(AffinityError):  # the look through the volume, or the task, names the block
        found = sample_density(source, grid.covered, Channels.of_offsets(offsets), recipe.supervoxels)
        if found is not None:
            return found, None
    return Density(), f"Nothing lies at the three places of {source.path} that were sampled: {assumed}"


def look_through(plan: Plan) -> None:
    """Look at all float affinities, which is too slow to be part of every plan.

    Raises:
        AffinityError: they hold NaN or values outside [0, 1]. Volumes above `LOOKED_THROUGH` voxels are not looked
            through; there the first such block ends the run.
    """
    source = plan.recipe.input.affinities
    if source is None or plan.grid.covered.voxels > LOOKED_THROUGH:
        return
    supervoxels = next(stage.config for stage in plan.stages if stage.task == "supervoxels").model_dump()
    if supervoxels["bytes_per_affinity"] == 1:
        return
    volume, channels = source.open(), Channels(supervoxels["order"], supervoxels["signs"])
    for index in plan.grid.indices():
        read_nearest(volume.read, plan.grid.box(index), plan.grid.volume, channels, volume.path)


def _chunks(recipe: Recipe, grid: BlockGrid) -> tuple[Triple, Triple | None]:
    return default_chunks(grid.block, grid.volume) if recipe.output.chunk is None else (recipe.output.chunk, None)


def _movable(recipe: Recipe, directory: Path) -> Recipe:
    """The recipe as it is written into the run directory: a run around this one is named so that both move together."""
    parent = recipe.input.run
    if parent is None or not directory.is_relative_to(parent):
        return recipe
    beside = recipe.input.model_copy(update={"run": os.path.relpath(parent, directory)})
    return recipe.model_copy(update={"input": beside})


def _labels(source: VolumeSpec, dtype: str, chunk: Triple, shard: Triple | None) -> VolumeSpec:
    return VolumeSpec(source.shape, dtype, source.voxel_size, source.translation, chunk=chunk, shard=shard)


def _affinities(raw: VolumeSpec, chunk: Triple, shard: Triple | None) -> VolumeSpec:
    from ...tasks import predict

    return predict.affinities_spec(raw, chunk, shard)


def _prediction(recipe: Recipe, model: Model, raw: VolumeSource, places: Places) -> TaskConfig:
    """The config of the prediction."""
    from ...pipeline.networks.normalisation import Normalisation
    from ...tasks import predict

    return predict.Config(
        raw=raw,
        mask=recipe.input.mask,
        checkpoint=checkpoint_folder(model),
        affinities=str(places.affinities),
        block=recipe.blocks.shape,
        region=recipe.input.region,
        normalisation=Normalisation.model_validate({"mean": model.mean, "deviation": model.deviation}),
        patch=model.patch,
        batch=model.batch,
        threads=model.threads,
        device=model.device,
        precision=model.precision,
        variants=model.variants,
        combine=model.combine,
        compile=model.compile,
        overlap=model.overlap,
        rim=model.rim,
    )


def _contingency(
    recipe: Recipe, grid: BlockGrid, places: Places, segmentation: VolumeSpec, identities: dict[str, str]
) -> contingency.Config | None:
    from ..stages.scoring import plan_contingency

    wanted = recipe.evaluate
    if wanted is None:
        return None
    for named in (wanted.truth, wanted.mask):
        if named is not None:
            identities[named.path] = named.open().identity()
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


def _foundation(recipe: Recipe, source: Volume, identities: Mapping[str, str]) -> dict[str, Any]:
    """What the affinities of every block rest on, by the recipe's names."""
    name = next(name for name in ("raw", "affinities", "run") if getattr(recipe.input, name) is not None)
    foundation: dict[str, Any] = {f"input.{name}": identities[source.path], "blocks.shape": list(recipe.blocks.shape)}
    if recipe.input.box is not None:
        foundation["input.box"] = [list(corner) for corner in recipe.input.box]
    if recipe.input.mask is not None:
        foundation["input.mask"] = identities[recipe.input.mask.path]
    for named, volume in (("input", recipe.input.source), ("input.mask", recipe.input.mask)):
        laid_over = {} if volume is None else volume.laid_over
        foundation |= {f"{named}.{key}": _plain(value) for key, value in laid_over.items()}
    if recipe.model is not None:
        settings = recipe.model.model_dump(mode="json", exclude={"accept_voxel_size"})
        settings |= {"checkpoint": weights_identity(recipe.model)}
        foundation |= {f"model.{key}": value for key, value in settings.items()}
    return foundation


def _plain(value: Any) -> Any:
    """A value as JSON gives it back."""
    return list(value) if isinstance(value, tuple) else value
