"""The affinities that a run segments: where they lie, and a box of them in memory."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from ...pipeline.affinities.masking import edges_inside
from ...pipeline.affinities.nearest import Channels, read_nearest
from ...pipeline.geometry import Box
from ...pipeline.volumes import read_nearest_voxels
from ..recipes.segmentation_recipe import Input, Recipe, load
from ..stages.places import Places
from .checks import check_run_directory
from .layout import RECIPE

_BYTES_IN_MEMORY = 150
"""A voxel of a box that is segmented in memory: what the tasks of supervoxels and agglomeration state for a block."""


def original_run(recipe: Recipe, directory: Path) -> tuple[Recipe, Path]:
    """Finds the recipe and the directory of a run; of a cut, those of the run that it was cut from."""
    if recipe.input.run is None:
        return recipe, directory
    parent = Path(recipe.input.run)
    return load(parent / RECIPE), parent


def region_of(recipe: Recipe) -> Box | None:
    """Returns the part of its volume that a run computes, None for all; of a cut, that of its run."""
    if recipe.input.run is not None:
        check_run_directory(Path(recipe.input.run))
    return original_run(recipe, Path())[0].input.region


def affinities_of(recipe: Recipe, directory: Path) -> Input:
    """Returns the affinities of a run that is no cut, as another recipe takes them."""
    wanted = recipe.input
    if wanted.affinities is not None:
        return wanted
    return Input(affinities=Places.of(recipe, directory).affinities, box=wanted.box)


def read(source: Input, box: Box) -> npt.NDArray[np.uint8]:
    """Returns affinities of z, y and x, (3, Z, Y, X), over a box of their volume, as the mask leaves them.

    Raises:
        AffinityError: a channel is missing, or values lie outside [0, 1].
    """
    assert source.affinities is not None
    volume = source.affinities.open()
    channels = Channels.of_offsets(source.offsets or volume.spec.offsets or ())
    found = read_nearest(volume.read, box, volume.spec.shape, channels, volume.path)
    if source.mask is None:
        return found
    mask = source.mask.open()
    inside = edges_inside(lambda part: read_nearest_voxels(mask, volume, part) != 0, box)
    return np.multiply(found, inside, out=found)


def fits_in_memory(box: Box) -> bool:
    """Tells whether half of the free memory is enough to segment a box."""
    import psutil

    return box.voxels < 2**31 and box.voxels * _BYTES_IN_MEMORY < psutil.virtual_memory().available / 2
