"""Finds what a run starts from: raw data, affinities or the supervoxels of another run. Each gives one `Inputs`."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ...pipeline.affinities.nearest import Channels
from ...pipeline.affinities.offsets import NEAREST, Offsets
from ...pipeline.errors import AffinityError
from ...pipeline.geometry import BlockGrid
from ...pipeline.networks.patch_grid import Patches
from ...pipeline.volumes import Volume, VolumeSource, VoxelScale, open_volume
from ...tasks.contract import Density, TaskConfig
from ..recipes.segmentation_recipe import Model, Recipe
from ..run_directory.affinities import region_of
from ..stages.places import Places
from .inputs import (
    checkpoint_folder,
    mask_of,
    offsets_of,
    patches_of,
    scale_of,
    supervoxels_identity,
    weights_identity,
    with_normalisation,
)
from .sampled_density import sample_density

ASSUMED = "memory, hours and bytes are those of the densest graph known, of noisy affinities with high = 0.9999."


@dataclass(frozen=True)
class Inputs:
    """Holds what a run starts from, as it was found.

    Args:
        recipe: as asked for, with what was found out added to it.
        source: the volume whose frame the run's own volumes have.
        grid: grid of the blocks.
        identities: of everything that the run only reads, by the path that configs hold.
        foundation: what the affinities of every block rest on, by the recipe's names.
        density: of the supervoxels' graph.
        density_note: why the density was not sampled, if so.
        offsets: of the affinity channels; None where the supervoxels are another run's.
        affinity_bytes: of one affinity, as stored.
        predict: the config of the prediction, if there is one.
        patches: patches of the network, if there is one.
        scale: the voxels of the raw data against those of the network's training, if a network is used.
    """

    recipe: Recipe
    source: Volume
    grid: BlockGrid
    identities: Mapping[str, str]
    foundation: Mapping[str, Any]
    density: Density
    density_note: str | None
    offsets: Offsets | None = None
    affinity_bytes: int = 1
    predict: TaskConfig | None = None
    patches: Patches | None = None
    scale: VoxelScale | None = None


def find_inputs(recipe: Recipe, places: Places) -> Inputs:
    """Finds the inputs of a run in its one source.

    Raises:
        RequestError: something is missing, or does not fit the recipe.
    """
    if recipe.input.raw is not None and recipe.model is not None:
        return from_raw(recipe, recipe.input.raw, recipe.model, places)
    if recipe.input.affinities is not None:
        return from_affinities(recipe, recipe.input.affinities)
    return from_run(recipe, str(recipe.input.run), places)


def from_raw(recipe: Recipe, raw: VolumeSource, model: Model, places: Places) -> Inputs:
    """Finds raw data, the network that predicts affinities from them, and the mask of the prediction."""
    source = raw.open()
    mask = mask_of(recipe, source)
    model = with_normalisation(model, source, mask)
    identity, weights = source.identity(), weights_identity(model)
    masked, of_mask = _masked(recipe.input.mask, mask)
    settings = model.model_dump(mode="json", exclude={"accept_voxel_size"}) | {"checkpoint": weights}
    segmented = recipe.output.until == "segmentation"
    return Inputs(
        recipe=recipe.model_copy(update={"model": model}),
        source=source,
        grid=_grid(recipe, source),
        identities={raw.path: identity, source.path: identity, checkpoint_folder(model): weights} | masked,
        foundation={
            **{"input.raw": identity, **_laid_over("input", raw), **of_mask},
            **{f"model.{key}": value for key, value in settings.items()},
        },
        density=Density(),
        density_note=f"There are no affinities to sample: {ASSUMED}" if segmented else None,
        offsets=NEAREST,
        predict=_prediction(recipe, raw, model, str(places.affinities)),
        patches=patches_of(model),
        scale=scale_of(model, source),
    )


def from_affinities(recipe: Recipe, affinities: VolumeSource) -> Inputs:
    """Finds affinities that exist, and samples the density of their supervoxels."""
    source = affinities.open()
    identity, grid = source.identity(), _grid(recipe, source)
    offsets, affinity_bytes = offsets_of(recipe, source)
    density, note = _sampled(recipe, source, grid, offsets)
    masked, of_mask = _masked(recipe.input.mask, mask_of(recipe, source))
    return Inputs(
        recipe=recipe,
        source=source,
        grid=grid,
        identities={affinities.path: identity, source.path: identity} | masked,
        foundation={"input.affinities": identity, **_laid_over("input", affinities), **of_mask},
        density=density,
        density_note=note,
        offsets=offsets,
        affinity_bytes=affinity_bytes,
    )


def from_run(recipe: Recipe, run: str, places: Places) -> Inputs:
    """Finds the supervoxels that another run has left."""
    identity = supervoxels_identity(recipe, run)
    source = open_volume(places.fragments)
    return Inputs(
        recipe=recipe,
        source=source,
        grid=_grid(recipe, source),
        identities=dict.fromkeys((source.path, places.fragments, places.leaves), identity),
        foundation={"input.run": identity},
        density=Density(),
        density_note=f"There are no affinities to sample: {ASSUMED}",
    )


def _grid(recipe: Recipe, source: Volume) -> BlockGrid:
    return BlockGrid(source.spec.shape, recipe.blocks.shape, region_of(recipe))


def _masked(named: VolumeSource | None, mask: Volume | None) -> tuple[dict[str, str], dict[str, Any]]:
    """Finds the identity of a mask by its path, and what of it all affinities rest on; nothing where there is none."""
    if named is None or mask is None:
        return {}, {}
    identity = mask.identity()
    return {named.path: identity}, {"input.mask": identity, **_laid_over("input.mask", named)}


def _laid_over(name: str, volume: VolumeSource) -> dict[str, Any]:
    """Lists the metadata that a recipe lays over a volume, as JSON gives them back."""
    values = ((key, list(value) if isinstance(value, tuple) else value) for key, value in volume.laid_over.items())
    return {f"{name}.{key}": value for key, value in values}


def _sampled(recipe: Recipe, source: Volume, grid: BlockGrid, offsets: Offsets) -> tuple[Density, str | None]:
    """Samples the density of the supervoxels' graph; returns a note where it is assumed."""
    if recipe.supervoxels.method != "watershed":
        return Density(), f"Supervoxels of method '{recipe.supervoxels.method}' are not sampled: {ASSUMED}"
    with contextlib.suppress(AffinityError):  # the look through the volume, or the task, names the block
        found = sample_density(source, grid.covered, Channels.of_offsets(offsets), recipe.supervoxels)
        if found is not None:
            return found, None
    return Density(), f"Nothing lies at the three places of {source.path} that were sampled: {ASSUMED}"


def _prediction(recipe: Recipe, raw: VolumeSource, model: Model, affinities: str) -> TaskConfig:
    from ...pipeline.networks.normalisation import Normalisation
    from ...tasks import predict

    return predict.Config(
        raw=raw,
        mask=recipe.input.mask,
        checkpoint=checkpoint_folder(model),
        affinities=affinities,
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
        floats=raw.open().spec.dtype.startswith("float"),
    )
