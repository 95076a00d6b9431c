"""Defines the commands that make, convert, predict and score, and the one that examines the machine."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .app import command, finish, run_recipe, say, show_result
from .options import (
    BoxOption,
    ClusterOption,
    JsonOption,
    SetOption,
    WorkersOption,
    all_overrides,
    parse_box,
    parse_three,
    volume_source,
)


@command
def demo(
    out: Annotated[
        Path, typer.Option("--out", metavar="DIR", help="A folder for everything that the demo makes.")
    ] = Path("demo"),
    workers: Annotated[int, typer.Option("--workers", metavar="N", help="Worker processes.")] = 2,
    as_json: JsonOption = False,
) -> None:
    """Try petavox: draw a phantom volume, segment it, score it, and write a report."""
    from ..progress import on_standard_error
    from ..runs.demo import run_demo

    finish(run_demo(out, workers, on_standard_error()), as_json, again=f"petavox demo --out {out}")


@command
def convert(
    source: Annotated[
        str,
        typer.Argument(
            metavar="SRC",
            help="The volume: TIFF, a folder or 'pattern' of sections, HDF5, zarr, N5, precomputed; a path or URL.",
        ),
    ],
    destination: Annotated[
        Path, typer.Argument(metavar="DST", help="The OME-Zarr volume to make; it must not exist yet.")
    ],
    voxel_size: Annotated[
        str | None,
        typer.Option(
            metavar="Z,Y,X", help="Size of a voxel in nm. Needed where SRC does not say, or says something else."
        ),
    ] = None,
    axes: Annotated[
        str | None,
        typer.Option(
            metavar="ZYX",
            help="Names of the axes of SRC, in its own order. For a TIFF, zyx takes pages as they come.",
        ),
    ] = None,
    dataset: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Name of an array in an HDF5 file, an image in an OME-TIFF, or a group."),
    ] = None,
    channel: Annotated[
        int | None, typer.Option(metavar="N", help="The channel to take, from 0. Default: all of them.")
    ] = None,
    time: Annotated[int | None, typer.Option(metavar="N", help="The point of time to take, from 0.")] = None,
    in_order: Annotated[
        bool, typer.Option("--in-order", help="Take sections in the order of their names, whatever their numbers say.")
    ] = False,
    lossy: Annotated[bool, typer.Option("--lossy", help="Read JPEG sections, too.")] = False,
    box: BoxOption = None,
    chunk: Annotated[str | None, typer.Option(metavar="Z,Y,X", help="Shape of the chunks of DST, in voxels.")] = None,
    offsets: Annotated[
        str | None,
        typer.Option(
            metavar="Z,Y,X;…", help="Offset of each affinity channel, in voxels. Needed where SRC does not say."
        ),
    ] = None,
    preview: Annotated[Path | None, typer.Option(metavar="PNG", help="Also make a picture of the volume.")] = None,
) -> None:
    """Convert a volume into OME-Zarr: TIFF, PNG, HDF5, zarr, N5, precomputed; the same command goes on."""
    from ..conversion.convert import convert as convert_volume
    from ..conversion.journal import partial_of
    from ..conversion.options import SourceOptions
    from ..progress import on_standard_error

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
    raw: Annotated[str, typer.Argument(metavar="RAW", help="The image volume.")],
    out: Annotated[str, typer.Argument(metavar="OUT", help="The affinities volume to make; it must not exist yet.")],
    checkpoint: Annotated[
        str,
        typer.Option(
            "--checkpoint", metavar="NAME", help="The network: a model's name, or the folder of a checkpoint."
        ),
    ],
    run: Annotated[Path | None, typer.Option("--run", metavar="DIR", help="Run directory. Default: runs/OUT.")] = None,
    cluster: ClusterOption = None,
    workers: WorkersOption = None,
    overrides: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Predict the affinities of an image volume, and stop there. The same command continues."""
    from ..recipes.prediction_recipe import name_of, prediction

    recipe = prediction(raw, out, checkpoint, all_overrides(cluster, workers, overrides))
    run_recipe(recipe, run or Path("runs") / name_of(out), as_json)


@command
def mask(
    raw: Annotated[str, typer.Argument(metavar="RAW", help="A raw volume.")],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="A new volume: 1 where there is tissue.")],
    level: Annotated[
        int | None, typer.Option(metavar="N", help="Of RAW's pyramid, from 0. Default: the coarsest that will do.")
    ] = None,
    cell: Annotated[float, typer.Option(metavar="NM", help="About the edge of a cell, which is tissue or not.")] = 500,
    threshold: Annotated[
        float | None, typer.Option(metavar="S", help="Grey levels of structure that tissue has. Default: found.")
    ] = None,
    smallest: Annotated[
        float, typer.Option(metavar="SHARE", help="Drop pieces smaller than this share of the largest.")
    ] = 0.01,
    voxel_size: Annotated[str | None, typer.Option(metavar="Z,Y,X", help="In nm, where RAW does not say.")] = None,
    axes: Annotated[
        str | None, typer.Option(metavar="ZYX", help="Of RAW in its own order, where it does not say.")
    ] = None,
    channel: Annotated[int | None, typer.Option(metavar="N", help="Which of RAW's channels, from 0.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Outline where a raw volume shows tissue, in coarse cells, as a mask for [input]."""
    from ..progress import on_standard_error
    from ..volumes.tissue_mask import make_tissue_mask
    from .show_mask import mask_json, mask_text

    made = make_tissue_mask(
        volume_source(raw, level, voxel_size, axes, channel),
        out,
        cell=cell,
        threshold=threshold,
        smallest=smallest,
        progress=on_standard_error(),
    )
    show_result(mask_json(made) if as_json else mask_text(made), as_json)


@command
def evaluate(
    segmentation: Annotated[str, typer.Argument(metavar="SEGMENTATION", help="The segmentation to score.")],
    truth: Annotated[str, typer.Argument(metavar="TRUTH", help="The true labels. Voxels with label 0 are not scored.")],
    mask: Annotated[
        str | None,
        typer.Option(
            "--mask", metavar="M", help="A volume on the grid of TRUTH. Only voxels where it is not 0 are scored."
        ),
    ] = None,
    offset: Annotated[
        str | None,
        typer.Option(
            "--offset", metavar="Z,Y,X", help="Position of the first voxel of TRUTH in SEGMENTATION, in voxels."
        ),
    ] = None,
    box: BoxOption = None,
    tolerance: Annotated[
        float | None,
        typer.Option("--tolerance", metavar="NM", help="Do not score voxels of TRUTH this close to a boundary, in nm."),
    ] = None,
    voxel_size: Annotated[
        str | None,
        typer.Option("--voxel-size", metavar="Z,Y,X", help="Voxel size of TRUTH in nm, whatever its metadata say."),
    ] = None,
    axes: Annotated[
        str | None, typer.Option("--axes", metavar="AXES", help="Axes of TRUTH as it is stored, such as xyz.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Score a segmentation: adapted Rand error, variation of information, the largest splits and mergers."""
    from ..analysis.evaluate import evaluate_volumes, scoring_remarks
    from ..progress import on_standard_error
    from ..report.score_rows import UNKNOWN
    from .show_scores import scores_table

    labels = volume_source(truth, None, voxel_size, axes, None)
    for remark in scoring_remarks(segmentation, labels):
        say(remark)
    progress = on_standard_error()

    def counted(done: int, blocks: int) -> None:
        if done == 1:
            progress.begin([("evaluate", blocks, 0)])
        progress.advance("evaluate")

    try:
        scores = evaluate_volumes(
            segmentation,
            labels,
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
def doctor(
    place: Annotated[
        str | None,
        typer.Argument(
            metavar="[PLACE]", help="A folder or URL such as s3://BUCKET/PREFIX: check the rights there instead."
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Check this machine: versions, memory, GPU, SLURM, compiled kernels; or the rights in a folder or bucket."""
    from .doctor import examine, findings_table
    from .doctor_storage import examine_storage

    findings = examine() if place is None else examine_storage(place)
    show_result([vars(finding) for finding in findings] if as_json else findings_table(findings), as_json)
    if not all(finding.good for finding in findings):
        raise typer.Exit(1)
