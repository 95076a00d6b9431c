"""Where a run keeps what its stages write."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from ...pipeline.locations import joined
from ...pipeline.volumes import VolumeSource
from ..recipes.segmentation_recipe import NAME, Recipe, load


@dataclass(frozen=True)
class Places:
    """Says where a run keeps things: volumes and folders of tables as absolute paths or URLs.

    Args:
        affinities: affinities that the run segments; None where it starts from the supervoxels of another run.
        fragments: fragments of the supervoxels, its own or those of the run that it starts from.
        leaves: folder of the tables of supervoxels and faces, likewise.
        segmentation: segmentation that the run makes.
        tables: folder of its own tables.
        scores: the file of its scores.
    """

    affinities: VolumeSource | None
    fragments: str
    leaves: str
    segmentation: str
    tables: str
    scores: str

    @classmethod
    def of(cls, recipe: Recipe, directory: Path) -> Places:
        """Returns the places of a run in an absolute directory."""
        parent = recipe.input.run
        between = _place(directory, recipe.output.intermediate or "")
        supervoxels = between if parent is None else _intermediate_of(Path(parent))
        predicted = VolumeSource(path=_place(directory, recipe.output.affinities))
        return cls(
            affinities=(recipe.input.affinities or predicted) if parent is None else None,
            fragments=joined(supervoxels, "supervoxels.zarr"),
            leaves=joined(supervoxels, "tables"),
            segmentation=_place(directory, recipe.output.segmentation),
            tables=joined(between, "tables"),
            scores=str(directory / "scores.json"),
        )

    def tables_of(self, stage: str) -> str:
        """Returns the folder of one stage's tables."""
        return joined(self.tables, stage)


def _intermediate_of(run: Path) -> str:
    """Where a run that another one starts from keeps its supervoxels; its recipe says so."""
    recipe = run / NAME
    wanted = load(recipe).output.intermediate if recipe.is_file() else None
    return _place(run.absolute(), wanted or "")


def _place(directory: Path, path: str) -> str:
    return path if "://" in path else os.path.normpath(directory / Path(path).expanduser())
