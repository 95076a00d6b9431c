"""Defines the commands that plan, run, continue, judge and change runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .app import command, run_recipe, say, show_result
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


@command
def plan(
    recipe: RecipePath,
    run: RunOption = None,
    cluster: ClusterOption = None,
    workers: WorkersOption = None,
    overrides: SetOption = None,
    calibrate: Annotated[
        bool, typer.Option("--calibrate", help="Measure a few blocks of your data first, and estimate by them.")
    ] = False,
    calibration: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="With --calibrate: write the measurements to this file. Without: estimate by this file.",
        ),
    ] = None,
    show_jobs: Annotated[
        bool, typer.Option("--show-jobs", help="Print the job scripts for the cluster, and nothing else.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Show what a recipe would run and what that costs. Explains why a recipe cannot run on this machine."""
    from ..planning.calibration import read
    from ..planning.plan import look_through, make_plan
    from ..planning.refusals import refusals
    from ..planning.totals import estimate
    from ..planning.unit_costs import shipped
    from ..run_directory.layout import LEDGER
    from ..runs.recompute import directory_refusals
    from . import show_plan

    planned = make_plan(load_recipe(recipe, cluster, workers, overrides), run_directory(recipe, run))
    if show_jobs:
        from ..runs.submit import scripts

        print("\n".join(scripts(planned)), end="")
        return
    look_through(planned)
    found = None
    if calibrate:
        from ..planning.calibration_run import calibrate as measure

        found = measure(planned, shipped(), say)
        if calibration is not None:
            found.write(calibration)
    elif calibration is not None:
        found = read(calibration)
    costs = estimate(planned, shipped(), found)
    new = not (planned.directory / LEDGER).exists()
    wrong = [*directory_refusals(planned), *refusals(planned, costs, new=new)]
    show_result((show_plan.plan_json if as_json else show_plan.plan_table)(planned, costs, wrong), as_json)
    if wrong:
        raise typer.Exit(2)


@command
def run(
    recipe: RecipePath,
    run: RunOption = None,
    cluster: ClusterOption = None,
    workers: WorkersOption = None,
    overrides: SetOption = None,
    force: ForceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Run a recipe, or continue its run. Finished blocks are kept."""
    directory = run_directory(recipe, run)
    run_recipe(load_recipe(recipe, cluster, workers, overrides), directory, as_json, force or ())


@command
def submit(
    recipe: RecipePath,
    run: RunOption = None,
    cluster: ClusterOption = None,
    overrides: SetOption = None,
) -> None:
    """Run a recipe on SLURM, and log out: the driver is a job as well."""
    from ..runs.submit import submit as submit_run

    directory = run_directory(recipe, run)
    print(submit_run(load_recipe(recipe, cluster, None, overrides), directory))
    say(f"Submitted. `petavox status {directory}` shows how far it is, `petavox cancel {directory}` ends it.")


@command
def cancel(run: RunPath) -> None:
    """End every job of a run on SLURM, its driver included. Finished blocks are kept."""
    from ..runs.submit import cancel as cancel_run

    say(f"{cancel_run(run)} jobs ended. `petavox submit` or `petavox run` continues.")


@command
def retry(
    run: RunPath, cluster: ClusterOption = None, workers: WorkersOption = None, as_json: JsonOption = False
) -> None:
    """Continue a run from its directory alone, and try failed blocks again."""
    from ..run_directory.checks import check_run_directory
    from ..run_directory.layout import RECIPE

    check_run_directory(run)
    run_recipe(load_recipe(run / RECIPE, cluster, workers, None), run, as_json)


@command
def status(
    run: RunPath,
    recipe: Annotated[
        Path | None,
        typer.Option("--recipe", metavar="RECIPE", help="Also list the stages that this recipe would compute again."),
    ] = None,
    overrides: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show how far a run is, what failed, who works on it, and what a changed recipe would compute again.

    Of the folder of a training, show how far that is.
    """
    from ..models.training_status import is_training, training_status
    from ..runs.status import status_of
    from .show_status import status_json, status_table
    from .show_training import training_json, training_text

    if is_training(run):
        training = training_status(run)
        show_result(training_json(training) if as_json else training_text(training), as_json)
        return
    found = status_of(run, recipe, overrides or ())
    show_result(status_json(found) if as_json else status_table(found), as_json)


@command
def audit(
    run: RunPath,
    repair: Annotated[bool, typer.Option("--repair", help="Compute missing and damaged results again.")] = False,
    cluster: ClusterOption = None,
    workers: WorkersOption = None,
    as_json: JsonOption = False,
) -> None:
    """Read back every result of a run, and compare it with its checksum. Exit status 1: something is wrong."""
    from ..progress import on_standard_error
    from ..runs.audit import audit as audit_run
    from .show_audit import audit_json, audit_text

    found = audit_run(run, on_standard_error, repair=repair, overrides=all_overrides(cluster, workers, None))
    if as_json:
        show_result(audit_json(found), as_json)
    else:
        print(audit_text(found))
    if found.exit_status:
        raise typer.Exit(found.exit_status)


@command
def cut(
    run: RunPath,
    threshold: Annotated[
        str, typer.Option("--threshold", metavar="T", help="The new agglomeration.threshold, from 0 to 1.")
    ],
    out: Annotated[
        Path | None, typer.Option("--out", metavar="DIR", help="Run directory. Default: RUN/cuts/threshold=T…")
    ] = None,
    cluster: ClusterOption = None,
    workers: WorkersOption = None,
    overrides: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make another segmentation from a finished run: its supervoxels are merged again, affinities are not needed."""
    from ..runs.cut import plan_cut

    run_recipe(*plan_cut(run, threshold, all_overrides(cluster, workers, overrides), out), as_json)


@command
def verify(
    run: RunPath,
    box: BoxOption = None,
    block: Annotated[
        list[str] | None,
        typer.Option(
            "--block",
            metavar="Z,Y,X",
            help="A block shape, in voxels; may be repeated. Default: two others than the run's.",
        ),
    ] = None,
    scratch: Annotated[
        Path | None,
        typer.Option("--scratch", metavar="DIR", help="A folder for temporary volumes. Default: beside RUN."),
    ] = None,
    cluster: ClusterOption = None,
    workers: WorkersOption = None,
    as_json: JsonOption = False,
) -> None:
    """Segment a run again in other blocks, and compare voxel by voxel. Exit status 1: the results differ."""
    from ...pipeline.geometry import triple
    from ..progress import on_standard_error
    from ..run_directory.checks import check_run_directory
    from ..runs.verify import verify as verify_run
    from . import show_run

    check_run_directory(run)
    verdict = verify_run(
        run,
        box=parse_box(box),
        blocks=[triple(parse_three(int, shape, "--block")) for shape in block or ()],
        scratch=scratch,
        overrides=all_overrides(cluster, workers, None),
        progress=on_standard_error,
    )
    show_result(show_run.verdict_json(verdict) if as_json else show_run.verdict_table(verdict), as_json)
    if not verdict.identical:
        raise typer.Exit(1)


@command
def tune(
    run: RunPath,
    box: BoxOption = None,
    split: Annotated[
        str | None,
        typer.Option(
            "--split", metavar="AXIS", help="Axis along which the box is cut into two halves: z, y, x or none."
        ),
    ] = None,
    half: Annotated[
        str, typer.Option("--half", metavar="HALF", help="The half that chooses the thresholds: first or second.")
    ] = "first",
    context: Annotated[
        str,
        typer.Option(
            "--context", metavar="Z,Y,X", help="Voxels around the box that are segmented with it, but not scored."
        ),
    ] = "0,0,0",
    grid: Annotated[
        Path | None, typer.Option("--grid", metavar="FILE", help="A TOML file with the values to try.")
    ] = None,
    tried: Annotated[
        list[str] | None,
        typer.Option("--try", metavar="KEY=VALUES", help="Values to try for one key, as in threshold=[0.2,0.3]."),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", metavar="DIR", help="Folder for the chosen recipe, the trials and the curve. Default: RUN/tuning."
        ),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            metavar="MODEL",
            help="Also write the choice into this model of your own, for its recipes.",
        ),
    ] = None,
    overrides: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Choose thresholds by one half of the true labels, and score the choice by the other half."""
    from ...pipeline.geometry import triple
    from ..analysis.tune import AXES, HALVES
    from ..analysis.tune import tune as tune_run
    from ..analysis.tuning_results import RECIPE, TUNING, settings_of, tuning_json, write_tuning
    from ..progress import on_standard_error
    from ..recipes.tuning_grid import read_grid
    from .show_tune import tuning_table

    tuning = tune_run(
        run,
        grid=read_grid(grid, tried or ()),
        progress=on_standard_error(),
        box=parse_box(box),
        split=None if split is None else parse_choice(AXES, split, "--split"),
        half=parse_choice(HALVES, half, "--half"),
        context=triple(parse_three(int, context, "--context")),
        overrides=overrides or (),
    )
    folder = out or run / TUNING
    write_tuning(tuning, folder)
    show_result((tuning_json if as_json else tuning_table)(tuning), as_json)
    say(f"The chosen recipe: {folder / RECIPE}")
    if model is not None:
        from ..models.catalogue import write_settings

        say(f"The chosen settings come with the model {write_settings(model, settings_of(tuning.chosen))}")
