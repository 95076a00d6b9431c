"""Plans of volumes that do not exist: only their grids and stages."""

from pathlib import Path

from petavox.pipeline.affinities.nearest import Channels
from petavox.pipeline.geometry import BlockGrid
from petavox.pipeline.volumes import VolumeSpec
from petavox.tasks.contract import Density
from petavox.workflows.planning.plan import Plan
from petavox.workflows.recipes.segmentation_recipe import Recipe
from petavox.workflows.stages.places import Places
from petavox.workflows.stages.segmentation_stages import SegmentationStages
from petavox.workflows.stages.stage import Frame

OFFSETS = ((1, 0, 0), (0, 1, 0), (0, 0, 1))


def plan_of(volume, block, *, workers=2, memory=4 * 10**9, density=None, directory=Path("/nowhere/run")):
    """From affinities to segments, of a volume of a shape in blocks of another."""
    recipe = Recipe.model_validate(
        {
            "input": {"affinities": "/nowhere/affinities.zarr"},
            "blocks": {"shape": tuple(block)},
            "cluster": {"workers": workers},
        }
    )
    grid, places = BlockGrid(tuple(volume), tuple(block)), Places.of(recipe, directory)
    frame = Frame(VolumeSpec(grid.volume, "uint8", (30.0, 6.0, 6.0)), grid.block, None)
    density = density or Density(0.02, 0.1)
    return Plan(
        recipe=recipe,
        directory=directory,
        grid=grid,
        stages=SegmentationStages(recipe, grid, places, frame, OFFSETS, 1, density).build(None, None),
        places=places,
        volumes={},
        identities={},
        foundation={},
        memory=memory,
        density=density,
        density_note=None,
        patches=None,
        channels=Channels(),
        truth_offset=None,
        scale=None,
    )
