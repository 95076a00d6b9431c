"""Runs a driver as a job itself: submits it, drives from within, shows the scripts, ends all jobs.

While a driver works, a successor waits in the queue that starts if the driver ends in any way but well: killed, lost
with its node, or near its walltime. A driver that comes to an end by itself takes its successor out of the queue first.
"""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import FrameType

from ... import cluster
from ...cluster.batch import DIALECTS, queue_of
from ...cluster.batch.folder import Folder, known_id
from ...cluster.batch.queue import BatchQueue
from ...cluster.batch.scripts import driver_script, job_name, worker_script
from ...pipeline.errors import ClusterError, PetavoxError, RequestError, StorageError
from ..planning.plan import Plan, make_plan
from ..planning.refusals import check
from ..recipes import strict_toml
from ..recipes.segmentation_recipe import Recipe, load
from ..report.ending import ending_text
from ..run_directory.layout import LEDGER
from .recompute import directory_refusals

TO_BE_CONTINUED = 75  # exit status of a driver whose successor goes on
_STARTS, _WHILE = 10, 600.0  # as many drivers within so many seconds: something is wrong with them
_PATIENCE = 60.0


def submit(recipe: Recipe, directory: Path) -> str:
    """Submits a job that drives a run; returns the job's id. The plan is checked first.

    Raises:
        RequestError: the recipe cannot work or does not run on a batch system, or that is not here, or the run has a
            driver's job.
        ClusterError: the batch system refuses the job.
    """
    if recipe.cluster.kind not in DIALECTS:
        raise RequestError(
            f"Only runs on SLURM can be submitted; cluster.kind is '{recipe.cluster.kind}'. Use --cluster slurm, or"
            " `petavox run`."
        )
    queue = queue_of(recipe.cluster.kind)
    queue.check_available()
    plan = make_plan(recipe, directory)
    if wrong := list(directory_refusals(plan)):
        raise RequestError("\n".join(wrong))
    check(plan, new=not (directory / LEDGER).exists())
    folder = Folder(directory)
    if waiting := queue.jobs([job_name(folder.id, "driver")]):
        raise RequestError(
            f"Job {waiting[0].id} drives this run already ({waiting[0].state.lower()}). See `petavox status"
            f" {directory}`, or end it with `petavox cancel {directory}`."
        )
    folder.write("recipe.toml", strict_toml.dump(recipe))
    folder.cancel(False)
    (folder.path / "starts").unlink(missing_ok=True)
    return queue.submit(_driver_script(queue, recipe, folder))


def cancel(directory: Path) -> int:
    """Ends every job of a run, its driver wherever it is, waits until they are gone, and counts them.

    Raises:
        RequestError: the run has never had jobs, or no batch system is here.
        ClusterError: jobs do not end.
    """
    run = known_id(directory)
    if run is None:
        raise RequestError(f"{directory} has no jobs: it has never run on SLURM. Name the directory of a run.")
    queues = _available()
    Folder(directory).cancel()
    names = [job_name(run, part) for part in ("driver", "cpu", "gpu")]
    return sum(_end(queue, names) for queue in queues)


def _available() -> list[BatchQueue]:
    """The batch systems that can be reached from here.

    Raises:
        RequestError: there is none.
    """
    found: list[BatchQueue] = []
    missing: list[str] = []
    for queue in map(queue_of, DIALECTS):
        try:
            queue.check_available()
            found.append(queue)
        except RequestError as error:
            missing.append(str(error))
    if not found:
        raise RequestError(" ".join(missing))
    return found


def _end(queue: BatchQueue, names: Sequence[str]) -> int:
    """End all jobs of some names, and wait until they are gone; how many there were."""
    ended: set[str] = set()
    deadline = time.monotonic() + _PATIENCE
    while jobs := queue.jobs(names):
        if time.monotonic() > deadline:
            raise ClusterError(f"Jobs {', '.join(job.id for job in jobs)} do not end; end them by hand.")
        # Those that wait go first: a successor would start when its driver ends.
        going = sorted((job for job in jobs if not job.ending), key=lambda job: not job.pending)
        queue.cancel([job.id for job in going])
        ended |= {job.id for job in going}
        time.sleep(0.5)
    return len(ended)


def scripts(plan: Plan) -> Iterator[str]:
    """Writes the scripts of all jobs that a plan may submit, each with a line that says what it is.

    Raises:
        RequestError: it does not run on SLURM.
    """
    wanted = plan.recipe.cluster
    if wanted.kind not in DIALECTS:
        raise RequestError(f"Only runs on SLURM have jobs; cluster.kind is '{wanted.kind}'. Use --cluster slurm.")
    run, folder = known_id(plan.directory) or "ID", plan.directory.resolve() / "cluster"
    queue = queue_of(wanted.kind)
    driver = driver_script(queue, wanted.driver(), run, folder, _command(plan.directory))
    yield f"# The driver, with `petavox submit`. Its successor has --dependency=afternotok:JOB as well.\n{driver}"
    pools: set[cluster.PoolName] = {"gpu" if stage.resources.gpu else "cpu" for stage in plan.stages}
    for pool in sorted(pools):
        if jobs := wanted.jobs(pool):
            script = worker_script(queue, jobs, pool, run, folder, jobs.maximum)
            yield f"# Workers of the pool '{pool}', {jobs.minimum} to {jobs.maximum}, by what there is to do.\n{script}"


def drive(directory: Path) -> int:
    """Runs what was submitted, within its job; returns the exit status."""
    from ..progress import on_standard_error
    from .run import run

    for number in (signal.SIGUSR1, signal.SIGTERM):
        signal.signal(number, _stop)
    folder = Folder(directory)
    recipe = load(folder.path / "recipe.toml")
    queue = queue_of(recipe.cluster.kind)
    successor = _successor(queue, recipe, folder)
    try:
        _check_starts(folder)
        ending = run(recipe, directory, on_standard_error())
        _say(ending_text(ending, f"petavox submit {directory}/cluster/recipe.toml --run {directory}"))
        status = ending.exit_status
    except KeyboardInterrupt:
        if not folder.cancelled:
            _say(f"Stopped: the walltime is near, or somebody wants it so. Job {successor} goes on.")
            return TO_BE_CONTINUED
        status = 130
    except PetavoxError as error:
        _say(f"petavox: {error}")
        status = 2 if isinstance(error, RequestError | StorageError) else 1
    queue.cancel([successor])
    return status


def _driver_script(queue: BatchQueue, recipe: Recipe, folder: Folder, after: str | None = None) -> str:
    command = _command(folder.path.parent)
    return driver_script(queue, recipe.cluster.driver(), folder.id, folder.path, command, after)


def _command(directory: Path) -> list[str]:
    return [sys.executable, "-P", "-m", "petavox.workflows.runs.submit", str(directory.resolve())]


def _successor(queue: BatchQueue, recipe: Recipe, folder: Folder) -> str:
    """The job that goes on if this one cannot; a driver that SLURM has started again finds the one it has had."""
    this = queue.this_job()
    for job in queue.jobs([job_name(folder.id, "driver")]):
        if job.id != this and job.pending:
            return job.id
    return queue.submit(_driver_script(queue, recipe, folder, after=this))


def _check_starts(folder: Folder) -> None:
    """Drivers that are killed again and again do not go on for ever."""
    file = folder.path / "starts"
    with file.open("a", encoding="ascii") as log:
        log.write(f"{time.time():.0f}\n")
    recent = [start for start in file.read_text(encoding="ascii").split() if time.time() - float(start) < _WHILE]
    if len(recent) > _STARTS:
        raise ClusterError(
            f"{len(recent)} drivers of this run have ended within {_WHILE / 60:.0f} minutes. Mend what"
            f" {folder.log('driver')} complains about, and submit it again."
        )


def _stop(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(drive(Path(sys.argv[1])))
