"""Declares the arguments that several commands take, and parses their texts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from ...pipeline.errors import RequestError

if TYPE_CHECKING:
    from ...pipeline.geometry import Box
    from ...pipeline.volumes import VolumeSource
    from ..recipes.segmentation_recipe import Recipe

Number = TypeVar("Number", int, float)
Word = TypeVar("Word", bound=str)

RecipePath = Annotated[Path, typer.Argument(metavar="RECIPE", help="A recipe: a TOML file.")]
RunPath = Annotated[Path, typer.Argument(metavar="RUN", help="A run directory.")]
RunOption = Annotated[
    Path | None,
    typer.Option("--run", metavar="DIR", help="Run directory. Default: the recipe's own, else runs/NAME beside it."),
]
SetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="KEY=VALUE", help="Use this value in place of the recipe's, as in blocks.shape=[64,256,256]."
    ),
]
ClusterOption = Annotated[
    str | None, typer.Option("--cluster", metavar="KIND", help="Where tasks run: serial, local or slurm.")
]
WorkersOption = Annotated[
    int | None, typer.Option("--workers", metavar="N", help="Number of worker processes on this machine.")
]
BoxOption = Annotated[
    str | None, typer.Option("--box", metavar="Z0:Z1,Y0:Y1,X0:X1", help="Part of the volume, in voxels.")
]
ForceOption = Annotated[
    list[str] | None,
    typer.Option("--force-stage", metavar="NAME", help="Compute this stage again, and all stages that depend on it."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print results as JSON on standard output.")]


def load_recipe(path: Path, cluster: str | None, workers: int | None, overrides: Sequence[str] | None) -> Recipe:
    """Loads the recipe in a file, with the values of the command line laid over it."""
    from ..recipes.segmentation_recipe import load

    return load(path, all_overrides(cluster, workers, overrides))


def all_overrides(cluster: str | None, workers: int | None, overrides: Sequence[str] | None) -> list[str]:
    """Collects the command line's values for a recipe, as KEY=VALUE; --cluster and --workers win over --set."""
    chosen = {"cluster.kind": cluster, "cluster.workers": workers}
    return [*(overrides or ()), *(f"{key}={value}" for key, value in chosen.items() if value is not None)]


def run_directory(recipe: Path, run: Path | None) -> Path:
    """Finds the run directory of a recipe: as --run says, the folder of a run's own recipe, or runs/NAME beside it."""
    from ..run_directory.layout import directory_of

    return directory_of(recipe) if run is None else run


def parse_three(kind: Callable[[str], Number], text: str, option: str) -> list[Number]:
    """Parses three numbers z,y,x.

    Raises:
        RequestError: the text is something else.
    """
    try:
        z, y, x = (kind(part) for part in text.split(","))
    except ValueError as error:
        raise RequestError(f"{option} takes three numbers z,y,x; found '{text}'.") from error
    return [z, y, x]


def raw_source(
    path: str, level: int | None, voxel_size: str | None, axes: str | None, channel: int | None
) -> VolumeSource:
    """Returns a volume with what the command line lays over it.

    Raises:
        RequestError: a value is wrong.
    """
    from pydantic import ValidationError

    from ...pipeline.volumes import VolumeSource

    size = None if voxel_size is None else tuple(parse_three(float, voxel_size, "--voxel-size"))
    over = {"level": level, "voxel_size": size, "axes": axes, "channel": channel}
    try:
        return VolumeSource.model_validate({"path": path, **over})
    except ValidationError as error:
        wrong = error.errors()[0]
        option = str(wrong["loc"][0]).replace("_", "-")
        raise RequestError(f"--{option}: {wrong['msg']}; found {over[str(wrong['loc'][0])]}.") from error


def parse_choice(known: Sequence[Word], text: str, option: str) -> Word:
    """Parses a word that must be one of the known ones.

    Raises:
        RequestError: the text is none of them.
    """
    for word in known:
        if word == text:
            return word
    raise RequestError(f"{option} takes one of {', '.join(known)}; found '{text}'.")


def parse_box(text: str | None) -> Box | None:
    """Parses a box z0:z1,y0:y1,x0:x1.

    Raises:
        RequestError: the text is something else.
    """
    from ...pipeline.geometry import Box, triple

    if text is None:
        return None
    try:
        start, stop = zip(*(map(int, part.split(":")) for part in text.split(",")), strict=True)
        return Box(triple(start), triple(stop))
    except (ValueError, RequestError) as error:
        raise RequestError(f"--box takes three ranges such as 0:64,0:512,0:512; found '{text}'.") from error
