"""The command line: `petavox …`. Every command imports what it needs when it runs, so that `--help` is quick."""

from __future__ import annotations

import functools
import json
import os
import signal
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from ..pipeline.errors import PetavoxError, RequestError, StorageError
from .options import (
    BoxOption,
    ClusterOption,
    ForceOption,
    JsonOption,
    RecipePath,
    RunOption,
    RunPath,
    SetOption,
    WorkersOption,
    all_overrides,
    load_recipe,
    parse_box,
    parse_choice,
    parse_three,
    run_directory,
)

if TYPE_CHECKING:
    from .recipe import Recipe
    from .run import Ending

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Electron-microscopy volumes into neurons, block by block. --debug, anywhere, shows tracebacks.",
)

_DEBUG = "PETAVOX_DEBUG"


def _command(function: Callable[..., None]) -> Callable[..., None]:
    """A command whose errors take one screen, and whose exit status says what kind they are."""

    @functools.wraps(function)
    def guarded(*arguments: Any, **options: Any) -> None:
        try:
            function(*arguments, **options)
        except typer.Exit:
            raise
        except KeyboardInterrupt as error:
            _say("Stopped. The same command continues.")
            raise typer.Exit(130) from error
        except Exception as error:
            if os.environ.get(_DEBUG):
                traceback.print_exc()
            elif isinstance(error, PetavoxError):
                _say(f"petavox: {error}")
            else:
                _say(f"petavox: unexpected {type(error).__name__}: {error}\nThis is a bug; --debug shows where.")
            raise typer.Exit(2 if isinstance(error, RequestError | StorageError) else 1) from error

    return app.command()(guarded)


@_command
def demo(
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Where everything goes.")] = Path("demo"),
    workers: Annotated[int, typer.Option("--workers", metavar="N", help="Worker processes.")] = 2,
    as_json: JsonOption = False,
) -> None:
    """A phantom volume from nothing to scores and a report."""
    from .demo import run_demo
    from .progress import on_standard_error

    _finish(run_demo(out, workers, on_standard_error()), as_json, again=f"petavox demo --out {out}")


@_command
def convert(
    source: Annotated[
        str, typer.Argument(metavar="SRC", help="TIFF, sections in a folder, HDF5, zarr, N5, precomputed.")
    ],
    destination: Annotated[Path, typer.Argument(metavar="DST", help="A new OME-Zarr volume.")],
    voxel_size: Annotated[str | None, typer.Option(metavar="Z,Y,X", help="In nm, where SRC does not say.")] = None,
    axes: Annotated[
        str | None, typer.Option(metavar="ZYX", help="Of SRC in its own order, where it does not say.")
    ] = None,
    dataset: Annotated[str | None, typer.Option(metavar="NAME", help="Which array of an HDF5 file.")] = None,
    box: BoxOption = None,
    chunk: Annotated[str | None, typer.Option(metavar="Z,Y,X", help="Unit of reading of DST, in voxels.")] = None,
    offsets: Annotated[
        str | None, typer.Option(metavar="Z,Y,X;…", help="Of affinity channels, in voxels, where SRC does not say.")
    ] = None,
) -> None:
    """Any volume → OME-Zarr."""
    from .convert import convert as convert_volume
    from .progress import on_standard_error

    volume = convert_volume(
        source,
        destination,
        voxel_size=None if voxel_size is None else parse_three(float, voxel_size, "--voxel-size"),
        axes=axes,
        dataset=dataset,
        box=parse_box(box),
        chunk=None if chunk is None else parse_three(int, chunk, "--chunk"),
        offsets=None if offsets is None else [parse_three(int, offset, "--offsets") for offset in offsets.split(";")],
        progress=on_standard_error(),
    )
    print(volume.path)


@_command
def plan(
    recipe: RecipePath,
    run: RunOption = None,
    cluster: ClusterOption = None,
    workers: WorkersOption = None,
    overrides: SetOption = None,
    calibrate: Annotated[
        bool, typer.Option("--calibrate", help="Run a few blocks, on scratch, and go by what they take.")
    ] = False,
    calibration: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="With --calibrate: keep what was measured there; without: go by it."),
    ] = None,
    show_jobs: Annotated[
        bool, typer.Option("--show-jobs", help="Print the scripts of the jobs on a cluster, and nothing else.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """What a recipe would run and what that costs; refuses what cannot work."""
    from . import show_plan
    from .calibration import read
    from .estimate import estimate
    from .feasible import refusals
    from .finished import LEDGER
    from .plan import look_through, make_plan
    from .rates import shipped

    planned = make_plan(load_recipe(recipe, cluster, workers, overrides), run_directory(recipe, run))
    if show_jobs:
        from .submit import scripts

        print("\n".join(scripts(planned)), end="")
        return
    look_through(planned)
    found = None
    if calibrate:
        from .calibrate import calibrate as measure

        found = measure(planned, shipped(), _say)
        if calibration is not None:
            found.write(calibration)
    elif calibration is not None:
        found = read(calibration)
    costs = estimate(planned, shipped(), found)
    wrong = refusals(planned, costs, new=not (planned.directory / LEDGER).exists())
    _print((show_plan.plan_json if as_json else show_plan.plan_table)(planned, costs, wrong), as_json)
    if wrong:
        raise typer.Exit(2)


@_command
def run(
    recipe: RecipePath,
    run: RunOption = None,
    cluster: ClusterOption = None,
    workers: WorkersOption = None,
    overrides: SetOption = None,
    force: ForceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Run a recipe, or continue its run: what is done is not done again."""
    directory = run_directory(recipe, run)
    _run(load_recipe(recipe, cluster, workers, overrides), directory, as_json, force or ())


@_command
def predict(
    raw: Annotated[str, typer.Argument(metavar="RAW", help="A raw volume.")],
    out: Annotated[str, typer.Argument(metavar="OUT", help="A new volume of its affinities.")],
    checkpoint: Annotated[str, typer.Option("--checkpoint", metavar="NAME", help="A shipped name, or a folder.")],
    run: Annotated[Path | None, typer.Option("--run", metavar="DIR", help="Run directory. Default: runs/OUT.")] = None,
    cluster: ClusterOption = None,
    workers: WorkersOption = None,
    overrides: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """The affinities of a raw volume, and nothing else; the same command continues."""
    from .predict import name_of, prediction

    recipe = prediction(raw, out, checkpoint, all_overrides(cluster, workers, overrides))
    _run(recipe, run or Path("runs") / name_of(out), as_json)


@_command
def submit(
    recipe: RecipePath,
    run: RunOption = None,
    cluster: ClusterOption = None,
    overrides: SetOption = None,
) -> None:
    """Run a recipe on SLURM with a driver that is a job itself, so that you can log out."""
    from .submit import submit as submit_run

    directory = run_directory(recipe, run)
    print(submit_run(load_recipe(recipe, cluster, None, overrides), directory))
    _say(f"Submitted. `petavox status {directory}` shows how far it is, `petavox cancel {directory}` ends it.")


@_command
def cancel(run: RunPath) -> None:
    """End every job of a run on SLURM, its driver included; what is done is kept."""
    from .submit import cancel as cancel_run

    _say(f"{cancel_run(run)} jobs ended. `petavox submit` or `petavox run` continues.")


@_command
def retry(
    run: RunPath, cluster: ClusterOption = None, workers: WorkersOption = None, as_json: JsonOption = False
) -> None:
    """Continue a run from its directory alone, blocks that failed included."""
    from .finished import RECIPE, check_run_directory

    check_run_directory(run)
    _run(load_recipe(run / RECIPE, cluster, workers, None), run, as_json)


@_command
def cut(
    run: RunPath,
    threshold: Annotated[str, typer.Option("--threshold", metavar="T", help="Of agglomeration, in [0, 1].")],
    out: Annotated[
        Path | None, typer.Option("--out", metavar="DIR", help="Run directory. Default: RUN/cuts/threshold=T…")
    ] = None,
    cluster: ClusterOption = None,
    workers: WorkersOption = None,
    overrides: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Another segmentation from a finished run's supervoxels, without its affinities: only merging is done again."""
    from .cut import plan_cut

    _run(*plan_cut(run, threshold, all_overrides(cluster, workers, overrides), out), as_json)


@_command
def verify(
    run: RunPath,
    box: BoxOption = None,
    block: Annotated[
        list[str] | None,
        typer.Option("--block", metavar="Z,Y,X", help="A block shape to cut with; may be repeated. Default: two."),
    ] = None,
    scratch: Annotated[
        Path | None, typer.Option("--scratch", metavar="DIR", help="For what is removed again. Default: beside RUN.")
    ] = None,
    cluster: ClusterOption = None,
    workers: WorkersOption = None,
    as_json: JsonOption = False,
) -> None:
    """Cut a run's volume into other blocks, and compare the segmentations bit for bit; exit status 1: they differ."""
    from ..pipeline.geometry import triple
    from . import show
    from .finished import check_run_directory
    from .progress import on_standard_error
    from .verify import verify as verify_run

    check_run_directory(run)
    verdict = verify_run(
        run,
        box=parse_box(box),
        blocks=[triple(parse_three(int, shape, "--block")) for shape in block or ()],
        scratch=scratch,
        overrides=all_overrides(cluster, workers, None),
        progress=on_standard_error,
    )
    _print(show.verdict_json(verdict) if as_json else show.verdict_table(verdict), as_json)
    if not verdict.identical:
        raise typer.Exit(1)


@_command
def tune(
    run: RunPath,
    box: BoxOption = None,
    split: Annotated[
        str | None, typer.Option("--split", metavar="AXIS", help="Cut the box in two along z, y or x; none: do not.")
    ] = None,
    half: Annotated[str, typer.Option("--half", metavar="HALF", help="Which half chooses: first or second.")] = "first",
    grid: Annotated[
        Path | None, typer.Option("--grid", metavar="FILE", help="A TOML file of the values to try.")
    ] = None,
    tried: Annotated[
        list[str] | None, typer.Option("--try", metavar="KEY=VALUES", help="Lay values over it: threshold=[0.2,0.3].")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="DIR", help="For recipe, trials and curve. Default: RUN/tuning.")
    ] = None,
    overrides: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Choose a run's thresholds by one half of its truth, without predicting again; the other half is scored, too."""
    from .grid import read_grid
    from .progress import on_standard_error
    from .show_tune import RECIPE, TUNING, tuning_json, tuning_table, write_tuning
    from .tune import AXES, HALVES
    from .tune import tune as tune_run

    tuning = tune_run(
        run,
        grid=read_grid(grid, tried or ()),
        progress=on_standard_error(),
        box=parse_box(box),
        split=None if split is None else parse_choice(AXES, split, "--split"),
        half=parse_choice(HALVES, half, "--half"),
        overrides=overrides or (),
    )
    folder = out or run / TUNING
    write_tuning(tuning, folder)
    _print((tuning_json if as_json else tuning_table)(tuning), as_json)
    _say(f"The chosen recipe: {folder / RECIPE}")


@_command
def status(
    run: RunPath,
    recipe: Annotated[
        Path | None, typer.Option("--recipe", metavar="RECIPE", help="Also say what this recipe would compute again.")
    ] = None,
    overrides: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """How far a run is, what failed, who works on it, and what a changed recipe would compute again."""
    from .status import look, status_json, status_table

    found = look(run, recipe, overrides or ())
    _print(status_json(found) if as_json else status_table(found), as_json)


@_command
def audit(
    run: RunPath,
    repair: Annotated[bool, typer.Option("--repair", help="Make what is missing or damaged again.")] = False,
    cluster: ClusterOption = None,
    workers: WorkersOption = None,
    as_json: JsonOption = False,
) -> None:
    """Is everything that a run has made there, and what it was? Exit status 1: no, and it was not repaired."""
    from .audit import audit as audit_run
    from .progress import on_standard_error
    from .show_audit import audit_json, audit_text

    found = audit_run(run, on_standard_error, repair=repair, overrides=all_overrides(cluster, workers, None))
    if as_json:
        _print(audit_json(found), as_json)
    else:
        print(audit_text(found))
    if found.exit_status:
        raise typer.Exit(found.exit_status)


@_command
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
    from .evaluate import evaluate_volumes, scores_table
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
    _print(scores.to_json() if as_json else scores_table(scores), as_json)


@_command
def train(
    recipe: RecipePath,
    out: Annotated[Path | None, typer.Option("--out", metavar="DIR", help="Default: training/NAME.")] = None,
    overrides: SetOption = None,
) -> None:
    """Train an affinity network, or continue its training."""
    from .training import train_from_recipe

    folder = out or Path("training") / recipe.stem
    print(train_from_recipe(recipe, folder, overrides or (), lambda line: _say(json.dumps(line))))


@_command
def doctor(as_json: JsonOption = False) -> None:
    """What petavox finds on this machine, and what is wrong with it."""
    from .doctor import examine, findings_table

    findings = examine()
    _print([vars(finding) for finding in findings] if as_json else findings_table(findings), as_json)
    if not all(finding.good for finding in findings):
        raise typer.Exit(1)


def main() -> NoReturn:
    """The entry point; exit status 0: done; 1: blocks failed; 2: the request or the disk must change; 130: stopped."""
    signal.signal(signal.SIGTERM, _stop)
    if "--debug" in sys.argv:
        sys.argv.remove("--debug")
        os.environ[_DEBUG] = "1"
    app(prog_name="petavox")
    sys.exit(0)


def _run(recipe: Recipe, directory: Path, as_json: bool, force: Sequence[str] = ()) -> None:
    from .progress import on_standard_error
    from .run import run

    _finish(run(recipe, directory, on_standard_error(), force=force), as_json, again=f"petavox retry {directory}")


def _stop(signal_number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _finish(ending: Ending, as_json: bool, again: str) -> None:
    """Say how a run ended."""
    from . import show

    if as_json:
        _print(show.ending_json(ending), as_json)
    elif ending.scores is not None:
        from .evaluate import scores_table

        _print(scores_table(ending.scores), as_json)
    _say(show.ending_text(ending, again))
    if ending.exit_status:
        raise typer.Exit(ending.exit_status)


def _print(result: Any, as_json: bool) -> None:
    """Results go to standard output, as JSON or for reading."""
    if as_json:
        print(json.dumps(result, indent=1))
    else:
        from rich.console import Console

        Console(highlight=False, markup=False).print(result)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
