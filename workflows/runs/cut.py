"""Cuts a finished run again: another segmentation from its supervoxels, in a directory of its own."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path

from ...pipeline.errors import RequestError
from ..recipes.segmentation_recipe import Agglomeration, Input, Output, Recipe, load
from ..run_directory.checks import check_run_directory
from ..run_directory.layout import RECIPE

CUTS = "cuts"
_MAY_DIFFER = {"agglomeration", "output", "evaluate", "cluster"}


def plan_cut(run: Path, threshold: str, overrides: Sequence[str] = (), out: Path | None = None) -> tuple[Recipe, Path]:
    """Returns the recipe of a cut, and the directory for its run.

    Args:
        run: directory of a run whose supervoxels are done; of a cut, the run that it was cut from is taken.
        threshold: threshold of agglomeration, a decimal in [0, 1].
        overrides: further values laid over the run's recipe, "agglomeration.small_size=600".
        out: the directory; unless given, one below the run's that is named after the settings.

    Raises:
        RequestError: this is no run, a value is wrong, or a wanted change is not one of a cut.
    """
    check_run_directory(run)
    before = load(run / RECIPE)
    wanted = load(run / RECIPE, [f"agglomeration.threshold={threshold}", *overrides])
    for name in Recipe.model_fields.keys() - _MAY_DIFFER:
        if getattr(wanted, name) != getattr(before, name):
            raise RequestError(
                f"A cut differs from its run in {', '.join(sorted(_MAY_DIFFER))}, not in {name}: that needs the"
                " affinities again. Run a recipe of its own for it."
            )
    parent = Path(before.input.run) if before.input.run is not None else run.absolute()
    # The segmentation goes where the run's own did only if that is asked for.
    output = wanted.output if wanted.output != before.output else Output(chunk=before.output.chunk)
    if output.intermediate == before.output.intermediate:  # the run's own tables are there
        output = output.model_copy(update={"intermediate": None})
    recipe = wanted.model_copy(update={"input": Input(run=str(parent)), "model": None, "output": output})
    return recipe, out or parent / CUTS / name_of(recipe.agglomeration)


def name_of(agglomeration: Agglomeration) -> str:
    """Returns a name for a folder: the threshold, and whatever else is not as it would be without a recipe."""
    others = agglomeration.model_dump(exclude={"threshold"}, exclude_defaults=True)
    settings = {"threshold": agglomeration.threshold, **others}
    return "-".join(f"{name}={_plain(value)}" for name, value in settings.items())


def _plain(value: object) -> str:
    """0.4 and 0.40 are one threshold, and one folder."""
    return f"{value.normalize():f}" if isinstance(value, Decimal) else str(value)
