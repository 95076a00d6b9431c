"""Keeps what was measured on blocks of a plan's own data, and applies it to a later plan from a file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import NonNegativeFloat, ValidationError

from ...pipeline.errors import RequestError
from ...pipeline.files import write_text
from ...pipeline.geometry import BlockGrid
from ...tasks.contract import at_level
from ...tasks.work import Growth
from ..recipes.segmentation_recipe import Recipe
from ..recipes.strict_toml import Section
from ..stages.stage import Stage
from .unit_costs import Cost

LEAF = at_level("agglomerate", 0)

_UNCHANGED = Cost(seconds=1, read=1, written=1, memory=1)


class Calibration(Section):
    """Holds the costs and the density that a few blocks of a plan's own data had.

    Args:
    made_from: settings that the blocks were run with, by the recipe's names.
    block: index of the block that it was made at.
    window: voxels along each axis of the blocks that were run.
    fragments, contacts: for each voxel of them, before small supervoxels join.
    joined: contacts for each voxel, once they have.
    across: contacts through a face between two of them, for each voxel of it.
    passed_up: contacts that they passed up the octree, for each voxel of their open surface.
    costs: for each kind of stage what a task took on average; memory is what the largest added to a worker.
    factors: for each of them, the same over what the table of rates, or the task itself, states.
    """

    made_from: Mapping[str, str]
    block: tuple[int, int, int]
    window: tuple[int, int, int]
    fragments: NonNegativeFloat
    contacts: NonNegativeFloat
    joined: NonNegativeFloat
    across: NonNegativeFloat
    passed_up: NonNegativeFloat
    costs: Mapping[str, Cost]
    factors: Mapping[str, Cost]

    @property
    def growth(self) -> Growth:
        return Growth(self.contacts, self.joined, self.across, self.passed_up)

    def factors_of(self, kind: str) -> Cost:
        """Returns the factors for the table's costs of a stage.

        A stage that was not measured is taken to differ from the table by the same factor as the merging of a block.
        """
        if kind in self.factors:
            return self.factors[kind]
        return _UNCHANGED.model_copy(update={"seconds": self.factors.get(LEAF, _UNCHANGED).seconds})

    def notes(self, recipe: Recipe) -> Iterator[str]:
        """Lists the remarks that a reader of an estimate has to know."""
        yield (
            f"Measured on {list(self.window)} voxels at block {list(self.block)}; larger octree nodes are extrapolated:"
            f" they pass up {self.passed_up:.3g} contacts for each voxel of open surface, as those blocks did."
        )
        now = settings_that_count(recipe)
        for name in sorted(self.made_from.keys() | now.keys()):
            if self.made_from.get(name) != now.get(name):
                yield f"Calibrated with other settings: {name} was {self.made_from.get(name)}, is {now.get(name)}."

    def write(self, path: Path) -> None:
        """Writes the calibration into a file, whole or not at all.

        Raises:
            StorageError: the file cannot be written.
        """
        write_text(path, self.model_dump_json(indent=1) + "\n")


def exceeds_blocks(stage: Stage, grid: BlockGrid) -> bool:
    """Tells whether the largest task of a stage covers more than a block, and so more than any that is calibrated."""
    return stage.grid != grid.shape


def read(path: Path) -> Calibration:
    """Reads the calibration in a file.

    Raises:
        RequestError: there is none.
    """
    try:
        return Calibration.model_validate_json(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise RequestError(
            f"The calibration {path} cannot be read: {error.strerror}. Make one with --calibrate --calibration {path}"
        ) from error
    except (ValidationError, UnicodeDecodeError) as error:
        raise RequestError(
            f"{path} is not a calibration of this version of petavox. Make it anew with --calibrate."
        ) from error


def settings_that_count(recipe: Recipe) -> dict[str, str]:
    """Lists the settings that a calibration depends on: data, network, blocks and the way they are segmented."""
    sections: dict[str, Any] = {"blocks": recipe.blocks, "supervoxels": recipe.supervoxels, "model": recipe.model}
    sections["agglomeration"] = recipe.agglomeration
    source = str(recipe.input.source or recipe.input.run)
    settings = {name: section.model_dump(mode="json") for name, section in sections.items() if section is not None}
    flat = {f"{name}.{key}": str(value) for name, section in settings.items() for key, value in section.items()}
    return {"input": source, **flat}
