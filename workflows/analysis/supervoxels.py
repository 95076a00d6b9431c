"""The supervoxels of a run under ids that are unique in the volume: blocks number theirs from 1 each."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ...pipeline.geometry import BlockGrid, Box
from ...pipeline.segmentation.relabel import relabel
from ...pipeline.volumes import VolumeSpec, open_volume
from ...tasks import block_tables
from ..recipes.segmentation_recipe import load
from ..run_directory.checks import check_supervoxels
from ..run_directory.layout import RECIPE
from ..stages.places import Places


class Supervoxels:
    """Reads the supervoxels of a run, each by 1 + the linear index of its first voxel in its block.

    Small ones have joined as far as one block could decide it. A supervoxel that a face between blocks cuts has an id
    on each side.

    Args:
        directory: of the run, or of a cut of one.

    Raises:
        RequestError: it is no run, or a block has no supervoxels yet.
    """

    def __init__(self, directory: Path) -> None:
        recipe = load(directory / RECIPE)
        check_supervoxels(directory if recipe.input.run is None else Path(recipe.input.run))
        places = Places.of(recipe, directory)
        self._labels, self._tables = open_volume(places.fragments), places.leaves
        self._grid = BlockGrid(self._labels.spec.shape, recipe.blocks.shape)
        self.path = self._labels.path
        self.spec: VolumeSpec = replace(self._labels.spec, dtype="uint64")

    def read(self, box: Box, channels: slice | None = None) -> npt.NDArray[Any]:
        """Reads the supervoxels of a box, (Z, Y, X) uint64; 0 is background."""
        labels = self._labels.read(box, channels)
        supervoxels = np.empty(labels.shape, np.uint64)
        for index in self._grid.touching(box):
            part = self._grid.box(index).intersect(box).slices(box.start)
            ids = block_tables.read_block_columns(self._tables, index, ["id"])["id"]
            supervoxels[part] = relabel(labels[part], np.concatenate([np.zeros(1, np.uint64), ids]))
        return supervoxels
