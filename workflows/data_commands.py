"""The commands that take a volume, a network, or nothing at all."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from .console import command, finish, run_recipe, say, show_result
from .options import (
    BoxOption,
    ClusterOption,
    JsonOption,
    RecipePath,
    SetOption,
    WorkersOption,
    all_overrides,
    parse_box,
    parse_three,
)


@command
def demo(
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Where everything goes.")] = Path("demo"),
    workers: Annotated[int, typer.Option("--workers", metavar="N", help="Worker processes.")] = 2,
    as_json: JsonOption = False,
) -> None:
    """A phantom volume from nothing to scores and a report."""
    from .demo import run_demo
    from .progress import on_standard_error

    finish(run_demo(out, workers, on_standard_error()), as_json, again=f"petavox demo --out {out}")


@command
def convert(
    source: Annotated[
        str,
        typer.Argument(
            metavar="SRC", help="TIFF, a folder or 'pattern' of sections, HDF5, zarr, N5, precomputed; a path or URL."
        ),
    ],
    destination: Annotated[Path, typer.Argument(metavar="DST", help="A new OME-Zarr volume.")],
    voxel_size: Annotated[
        str | None, typer.Option(metavar="Z,Y,X", help="In nm, where SRC does not say, or says something else.")
    ] = None,
    axes: Annotated[
        str | None,
        typer.Option(metavar="ZYX", help="Of SRC in its own order. For a TIFF, zyx takes its pages as they come."),
    ] = None,
    dataset: Annotated[
        str | None, typer.Option(metavar="NAME", help="Which array of an HDF5 file, image of an OME-TIFF, or group.")
    ] = None,
    channel: Annotated[int | None, typer.Option(metavar="N", help="Which channel, from 0; all unless given.")] = None,
    time: Annotated[int | None, typer.Option(metavar="N", help="Which point of time, from 0.")] = None,
    in_order: Annotated[
        bool, typer.Option("--in-order", help="Sections in the order of their names, whatever the numbers say.")
    ] = False,
    lossy: Annotated[bool, typer.Option("--lossy", help="Read JPEG sections, too.")] = False,
    box: BoxOption = None,
    chunk: Annotated[str | None, typer.Option(metavar="Z,Y,X", help="Unit of reading of DST, in voxels.")] = None,
    offsets: Annotated[
        str | None, typer.Option(metavar="Z,Y,X;…", help="Of affinity channels, in voxels, where SRC does not say.")
    ] = None,
    preview: Annotated[Path | None, typer.Option(metavar="PNG", help="Also make a picture of the volume.")] = None,
) -> None:
    """Any volume → OME-Zarr. Interrupted, the same command goes on."""
    from .conversion.convert import convert as convert_volume
    from .conversion.journal import partial_of
    from .conversion.options import SourceOptions
    from .progress import on_standard_error

    options = SourceOptions(
        voxel_size=None if voxel_size is None else parse_three(float, voxel_size, "--voxel-size"),
        axes=axes,
        dataset=dataset,
        offsets=None if offsets is None else [parse_three(int, offset, "--offsets") for offset in offsets.split(";")],
        channel=channel,
        time=time,
        in_order=in_order,
        lossy=lossy,
    )
    try:
        converted = convert_volume(
            source,
            destination,
            options,
            box=parse_box(box),
            chunk=None if chunk is None else parse_three(int, chunk, "--chunk"),
            preview=preview,
            tell=say,
            progress=on_standard_error(),
        )
    except KeyboardInterrupt as stop:
        if partial_of(destination).exists():
            raise
        raise KeyboardInterrupt("Nothing was written yet; the same command begins anew.") from stop
    print(converted)


@command
def predict(
    raw: Annotated[str, typer.Argument(metavar="RAW", help="A raw volume.")],
    out: Annotated[str, typer.Argument(metavar="OUT", help="A new volume of its affinities.")],
    checkpoint: Annotated[str, typer.Option("--checkpoint", metavar="NAME", help="A model's name, or a folder.")],
    run: Annotated[Path | None, typer.Option("--run", metavar="DIR", help="Run directory. Default: runs/OUT.")] = None,
    cluster: ClusterOption = None,
    workers: WorkersOption = None,
    overrides: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """The affinities of a raw volume, and nothing else; the same command continues."""
    from .predict import name_of, prediction

    recipe = prediction(raw, out, checkpoint, all_overrides(cluster, workers, overrides))
    run_recipe(recipe, run or Path("runs") / name_of(out), as_json)


@command
def train(
    recipe: RecipePath,
    out: Annotated[Path | None, typer.Option("--out", metavar="DIR", help="Default: training/NAME.")] = None,
    overrides: SetOption = None,
) -> None:
    """Train an affinity network, or continue its training."""
    from .training import train_from_recipe

    folder = out or Path("training") / recipe.stem
    print(train_from_recipe(recipe, folder, overrides or (), lambda line: say(json.dumps(line)), say))


@command
def evaluate(
    segmentation: Annotated[str, typer.Argument(metavar="SEGMENTATION", help="Labels to score.")],
    truth: Annotated[str, typer.Argument(metavar="TRUTH", help="True labels; 0 is not scored.")],
    mask: Annotated[str | None, typer.Option("--mask", metavar="M", help="Score only where this is not 0.")] = None,
    offset: Annotated[
        str | None, typer.Option("--offset", metavar="Z,Y,X", help="Of the truth's first voxel in the segmentation.")
    ] = None,
    box: BoxOption = None,
    tolerance: Annotated[
        float | None, typer.Option("--tolerance", metavar="NM", help="Leave out truth this close to a boundary.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Score a segmentation: adapted Rand error, variation of information, the largest splits and mergers."""
    from .evaluate import UNKNOWN, evaluate_volumes, scores_table
    from .progress import on_standard_error

    progress = on_standard_error()

    def counted(done: int, blocks: int) -> None:
        if done == 1:
            progress.begin([("evaluate", blocks, 0)])
        progress.advance("evaluate")

    try:
        scores = evaluate_volumes(
            segmentation,
            truth,
            mask=mask,
            offset=None if offset is None else parse_three(int, offset, "--offset"),
            box=parse_box(box),
            tolerance=tolerance,
            progress=counted,
        )
    finally:
        progress.close()
    if scores.unknown_voxels:
        say(f"{truth}: {scores.unknown_voxels:,} voxels {UNKNOWN}.")
    show_result(scores.to_json() if as_json else scores_table(scores), as_json)


@command
def doctor(as_json: JsonOption = False) -> None:
    """What petavox finds on this machine, and what is wrong with it."""
    from .doctor import examine, findings_table

    findings = examine()
    show_result([vars(finding) for finding in findings] if as_json else findings_table(findings), as_json)
    if not all(finding.good for finding in findings):
        raise typer.Exit(1)
