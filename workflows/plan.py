"""What a recipe comes to: volumes, stages, bytes and memory. What cannot work is refused here, before any writing."""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..cluster import PoolName
from ..pipeline.affinities.nearest import Channels, read_nearest
from ..pipeline.affinities.offsets import NEAREST, Offsets
from ..pipeline.errors import AffinityError, VolumeError
from ..pipeline.geometry import BlockGrid, Box, Triple
from ..pipeline.volumes import Volume, VolumeSpec, check_write_boxes, default_chunks, open_volume, survey
from ..tasks.contract import Density, TaskConfig
from .density import sample_density
from .fingerprint import digest
from .finished import check_leaves
from .recipe import Model, Recipe
from .segmentation import Places, SegmentationStages, supervoxel_settings
from .stages import Stage

if TYPE_CHECKING:
    from ..tasks import contingency

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
        patch: of the network, voxels.
        truth_offset: where the truth's first voxel lies in the segmentation, if there is a truth.
        remarks: what a user must be told of the volumes that it reads.
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
    patch: Triple
    truth_offset: Triple | None
    remarks: tuple[str, ...] = ()

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
    source, identities = _source(recipe, places)
    grid = BlockGrid(source.spec.shape, recipe.blocks.shape)
    chunk, shard = _chunks(recipe, grid)
    segmentation, segmented = _labels(source.spec, "uint64", chunk, shard), recipe.output.until == "segmentation"
    volumes = {places.segmentation: segmentation} if segmented else {}
    predict, offsets, affinity_bytes, network = None, None, 1, (0.0, (1, 1, 1))
    if recipe.input.run is None and segmented:
        volumes[places.fragments] = _labels(source.spec, "uint32", chunk, shard)
    if recipe.model is not None:
        model, offsets = _with_normalisation(recipe.model, source), NEAREST
        recipe = recipe.model_copy(update={"model": model})
        predict, volumes[str(places.affinities)] = _prediction(recipe, model, source, places, chunk, shard)
        if recipe.input.mask is not None:
            identities[recipe.input.mask] = _mask(recipe.input.mask, source)
        identities[_checkpoint(model)], network = _weights(model), _network(model)
    elif recipe.input.affinities is not None:
        offsets, affinity_bytes = _offsets(recipe, source)
    for spec in volumes.values():
        check_write_boxes(grid, spec)
    counting = _contingency(recipe, places, segmentation, identities)
    density, density_note = _density(recipe, source, offsets)
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
        patch=network[1],
        truth_offset=None if counting is None else counting.offset,
        remarks=_remarks(recipe, source),
    )


def _remarks(recipe: Recipe, source: Volume) -> tuple[str, ...]:
    """What a user must be told of the volumes that a run reads; the supervoxels of another run are known."""
    if recipe.input.run is not None:
        return ()
    wanted = [recipe.input.mask, *((recipe.evaluate.truth, recipe.evaluate.mask) if recipe.evaluate else ())]
    volumes = [source, *(open_volume(path) for path in wanted if path is not None)]
    return tuple(remark for volume in volumes for remark in (*volume.remarks, *survey(volume)))


def _density(recipe: Recipe, source: Volume, offsets: Offsets | None) -> tuple[Density, str | None]:
    """The density of the supervoxels' graph, and a note where it is assumed and not sampled."""
    if recipe.output.until == "affinities":
        return Density(), None
    assumed = "memory, hours and bytes are those of the densest graph known, of noisy affinities with high = 0.9999."
    if recipe.input.affinities is None or offsets is None:
        return Density(), f"There are no affinities to sample: {assumed}"
    if recipe.supervoxels.method != "watershed":
        return Density(), f"Supervoxels of method '{recipe.supervoxels.method}' are not sampled: {assumed}"
    with contextlib.suppress(AffinityError):  # the look through the volume, or the task, names the block
        found = sample_density(source, Channels.of_offsets(offsets), recipe.supervoxels)
        if found is not None:
            return found, None
    return Density(), f"Nothing lies at the three places of {source.path} that were sampled: {assumed}"


def _source(recipe: Recipe, places: Places) -> tuple[Volume, dict[str, str]]:
    """The volume that a run starts from, and the identities of what it starts from, by the paths that configs hold."""
    if recipe.input.run is None:
        named = str(recipe.input.raw or places.affinities)
        source = open_volume(named)
        return source, dict.fromkeys((named, source.path), source.identity())
    settings = {"block": list(recipe.blocks.shape), **supervoxel_settings(recipe)}
    if not settings["levels"]:
        del settings["levels"]  # histograms may be there, unread
    left = check_leaves(Path(recipe.input.run), settings)
    source = open_volume(places.fragments)
    return source, dict.fromkeys((source.path, places.fragments, places.leaves), left)


def look_through(plan: Plan) -> None:
    """Look at all float affinities, which is too slow to be part of every plan.

    Raises:
        AffinityError: they hold NaN or values outside [0, 1]. Volumes above `LOOKED_THROUGH` voxels are not looked
            through; there the first such block ends the run.
    """
    source = plan.recipe.input.affinities
    if source is None or math.prod(plan.grid.volume) > LOOKED_THROUGH:
        return
    supervoxels = next(stage.config for stage in plan.stages if stage.task == "supervoxels").model_dump()
    if supervoxels["bytes_per_affinity"] == 1:
        return
    volume, channels = open_volume(source), Channels(supervoxels["order"], supervoxels["signs"])
    for index in plan.grid.indices():
        read_nearest(volume.read, plan.grid.box(index), plan.grid.volume, channels, volume.path)


def in_bytes(count: float) -> str:
    """Bytes for people: 2.5 GB."""
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} PB"


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


def _with_normalisation(model: Model, source: Volume) -> Model:
    """The model with the grey levels' statistics: as the recipe says, or sampled over the whole volume."""
    from ..pipeline.affinities.normalisation import estimate_normalisation

    if source.spec.channels is not None:
        raise VolumeError(
            f"Raw data has the axes z, y, x; {source.path} has {source.spec.channels} channels besides."
            " If these are affinities, name the volume as [input] affinities; else take one channel out of it: "
            f"petavox convert {source.path} NEW.zarr --channel 0"
        )
    if model.mean is not None:
        return model
    found = estimate_normalisation(source.read, source.spec.shape, fill_value=source.spec.fill_value)
    return model.model_copy(update={"mean": found.mean, "deviation": found.deviation})


def _prediction(
    recipe: Recipe, model: Model, source: Volume, places: Places, chunk: Triple, shard: Triple | None
) -> tuple[TaskConfig, VolumeSpec]:
    """The config of the prediction, and what is predicted."""
    from ..pipeline.affinities.normalisation import Normalisation
    from ..tasks import predict

    config = predict.Config(
        raw=source.path,
        mask=recipe.input.mask,
        checkpoint=_checkpoint(model),
        affinities=str(places.affinities),
        block=recipe.blocks.shape,
        normalisation=Normalisation.model_validate({"mean": model.mean, "deviation": model.deviation}),
        patch=model.patch,
        batch=model.batch,
        threads=model.threads,
        device=model.device,
        precision=model.precision,
        variants=model.variants,
        combine=model.combine,
        compile=model.compile,
    )
    return config, predict.affinities_spec(source.spec, chunk, shard)


def _mask(path: str, source: Volume) -> str:
    """The identity of a mask, once it is known to fit the raw data."""
    mask = open_volume(path)
    if mask.spec.array_shape != source.spec.array_shape:
        raise VolumeError(
            f"The mask must have the shape of the raw data: {path} is {mask.spec.array_shape}, {source.path} is"
            f" {source.spec.array_shape}. Make one for the whole volume."
        )
    return mask.identity()


def _checkpoint(model: Model) -> str:
    """The folder of the checkpoint."""
    from ..pipeline.affinities.checkpoint import find_checkpoint

    return str(find_checkpoint(model.checkpoint))


def _weights(model: Model) -> str:
    """The identity of a checkpoint: what its config says about predicting, the hash of its weights included."""
    from ..pipeline.affinities.checkpoint import check_checkpoint_offsets

    config = check_checkpoint_offsets(Path(_checkpoint(model)))
    return digest(config.model_dump(mode="json", exclude={"provenance": True, "network": {"descriptors"}}))


def _network(model: Model) -> tuple[float, Triple]:
    """Operations of the network for a voxel of a patch, and the shape of a patch."""
    from ..pipeline.affinities.checkpoint import check_checkpoint_offsets
    from ..pipeline.affinities.operations import operations_a_voxel

    config = check_checkpoint_offsets(Path(_checkpoint(model)))
    patch = model.patch or config.patch
    return model.variants * operations_a_voxel(config.network), patch


def _offsets(recipe: Recipe, source: Volume) -> tuple[Offsets, int]:
    """The offsets of the channels of existing affinities, and the bytes of one of them."""
    import numpy as np

    spec = source.spec
    if spec.channels is None or not (spec.dtype == "uint8" or spec.dtype.startswith("float")):
        raise AffinityError(
            f"Affinities have the axes c, z, y, x and are uint8 or floats in [0, 1]; {source.path} has shape"
            f" {spec.array_shape} and type {spec.dtype}."
        )
    offsets = recipe.input.offsets or spec.offsets
    if offsets is None:
        raise AffinityError(
            f"The offsets of affinities must be known; {source.path} does not state them. Add them to [input], one"
            f" (z, y, x) a channel, where the value at p belongs to the edge of p and p − offset; for channels z, y, x:"
            f" offsets = {[list(offset) for offset in NEAREST]}"
        )
    if len(offsets) != spec.channels:
        raise AffinityError(
            f"Each channel needs one offset: {source.path} has {spec.channels}, [input] states {len(offsets)}."
        )
    return offsets, np.dtype(spec.dtype).itemsize


def _contingency(
    recipe: Recipe, places: Places, segmentation: VolumeSpec, identities: dict[str, str]
) -> contingency.Config | None:
    from .evaluate import plan_contingency

    wanted = recipe.evaluate
    if wanted is None:
        return None
    for path in (wanted.truth, wanted.mask):
        if path is not None:
            identities[path] = open_volume(path).identity()
    return plan_contingency(
        places.segmentation,
        segmentation,
        wanted.truth,
        block=recipe.blocks.shape,
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
    if recipe.input.mask is not None:
        foundation["input.mask"] = identities[recipe.input.mask]
    if recipe.model is not None:
        settings = recipe.model.model_dump(mode="json") | {"checkpoint": _weights(recipe.model)}
        foundation |= {f"model.{key}": value for key, value in settings.items()}
    return foundation
