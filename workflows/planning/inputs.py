"""Checks the inputs of a run one by one: supervoxels, grey levels, mask, network, offsets; with their identities."""

from __future__ import annotations

from pathlib import Path

from ...pipeline.affinities.offsets import NEAREST, Offsets
from ...pipeline.errors import AffinityError, VolumeError
from ...pipeline.networks.patch_grid import Patches
from ...pipeline.volumes import Volume, VoxelScale, check_covers, read_nearest_voxels
from ..recipes.model_settings import SECTIONS, settings_of
from ..recipes.segmentation_recipe import Model, Recipe
from ..run_directory.affinities import region_of
from ..run_directory.checks import check_leaves
from ..stages.fingerprint import digest
from ..stages.segmentation_stages import supervoxel_settings


def supervoxels_identity(recipe: Recipe, run: str) -> str:
    """Returns the identity of the supervoxels that a run has left, once they are known to be those of the recipe."""
    region = region_of(recipe)
    settings = {
        "block": list(recipe.blocks.shape),
        "region": None if region is None else {"start": list(region.start), "stop": list(region.stop)},
        **supervoxel_settings(recipe),
    }
    if not settings["levels"]:
        del settings["levels"]  # histograms may be there, unread
    return check_leaves(Path(run), settings)


def with_normalisation(model: Model, source: Volume, mask: Volume | None) -> Model:
    """Fills in the grey levels' mean and deviation: as the recipe says, or sampled over the volume inside the mask."""
    from ...pipeline.networks.normalisation import estimate_normalisation

    if source.spec.channels is not None:
        raise VolumeError(
            f"Raw data has the axes z, y, x; {source.path} has {source.spec.channels} channels besides."
            " If these are affinities, name the volume as [input] affinities; else take one of them: channel = 0"
        )
    if model.mean is not None:
        return model
    inside = None if mask is None else lambda box: read_nearest_voxels(mask, source, box) != 0
    spec = source.spec
    found = estimate_normalisation(source.read, spec.shape, fill_value=spec.fill_value, inside=inside)
    return model.model_copy(update={"mean": found.mean, "deviation": found.deviation})


def mask_of(recipe: Recipe, source: Volume) -> Volume | None:
    """Returns the mask that says where there are affinities, once it is known to cover what is computed."""
    if recipe.input.mask is None:
        return None
    mask = recipe.input.mask.open()
    check_covers(mask, source, recipe.input.region or source.spec.box)
    return mask


def checkpoint_folder(model: Model) -> str:
    """Returns the folder of the checkpoint."""
    from ...pipeline.affinities.checkpoint import find_checkpoint

    return str(find_checkpoint(model.checkpoint))


def settings_note(recipe: Recipe) -> str | None:
    """Says which settings were tuned for the model, and which of them the recipe has otherwise."""
    settings = None if recipe.model is None else settings_of(recipe.model.checkpoint, None)
    if recipe.model is None or settings is None or recipe.output.until == "affinities":
        return None
    kept: list[str] = []
    other: list[str] = []
    for section in SECTIONS:
        stated = getattr(recipe, section)
        for key, value in getattr(settings, section).items():
            found = getattr(stated, key)
            same = str(found) == str(value) or (not isinstance(value, str) and float(found) == float(value))
            (kept if same else other).append(f"{key} {value}" if same else f"{key} {found} (tuned: {value})")
    own = f" The recipe has its own {', '.join(other)}." if other else ""
    return f"As tuned for {recipe.model.checkpoint}: {', '.join(kept) or 'nothing'}.{own}"


def scale_of(model: Model, source: Volume) -> VoxelScale:
    """Compares the voxel sizes of a model's training and of the raw data."""
    from ...pipeline.affinities.checkpoint import check_checkpoint_offsets

    trained = check_checkpoint_offsets(Path(checkpoint_folder(model))).voxel_size
    return VoxelScale(model.checkpoint, trained, source.path, source.spec.voxel_size, model.accept_voxel_size)


def weights_identity(model: Model) -> str:
    """Returns the identity of a checkpoint: what its config says about predicting, the hash of its weights included."""
    from ...pipeline.affinities.checkpoint import check_checkpoint_offsets

    config = check_checkpoint_offsets(Path(checkpoint_folder(model)))
    said = config.model_copy(update={"settings": None})  # which the recipe has, or has its own
    return digest(said.model_dump(mode="json", exclude={"provenance": True, "network": {"descriptors"}}))


def patches_of(model: Model) -> Patches:
    """Returns the patches that the network computes: the recipe's, or those of its checkpoint."""
    from ...pipeline.affinities.checkpoint import check_checkpoint_offsets
    from ...pipeline.affinities.network_config import check_patch

    config = check_checkpoint_offsets(Path(checkpoint_folder(model)))
    patches = config.patches(model.patch, model.overlap, model.rim)
    check_patch(patches.shape, config.network)
    return patches


def offsets_of(recipe: Recipe, source: Volume) -> tuple[Offsets, int]:
    """Returns the offsets of the channels of existing affinities, and the bytes of one of them."""
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
