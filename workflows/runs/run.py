"""A run from its recipe to its report, in a directory that can be left and come back to at any moment."""

from __future__ import annotations

import contextlib
import logging
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ... import cluster
from ...pipeline.errors import RequestError, StorageError
from ...pipeline.files import write_text
from ..execution import attempt
from ..execution.loop import Loop, Result
from ..execution.retries import BACKOFF
from ..planning.plan import Plan, look_through, make_plan
from ..planning.refusals import check
from ..planning.totals import estimate
from ..planning.unit_costs import shipped
from ..progress import Progress
from ..recipes import strict_toml
from ..recipes.segmentation_recipe import Recipe
from ..report.ending import Ending
from ..report.versions import versions
from ..run_directory.checks import check_own_directory, keep_drivers_out
from ..run_directory.layout import HANGS, LEDGER, LOG, RECIPE
from ..run_directory.ledger import Ledger
from ..run_directory.ledger_backup import keep_copy
from ..run_directory.lock import Lock, locked
from ..run_directory.status_file import Bulletin, recipe_digest
from ..stages.fingerprint import ingredients
from ..stages.stage import Stage
from .recompute import Fingerprints, changes, check_foundation, check_outputs, forced, renew

if TYPE_CHECKING:
    from ..report.pictures import Volumes

log = logging.getLogger(__name__)


def run(
    recipe: Recipe, directory: str | Path, progress: Progress, *, backoff: float = BACKOFF, force: Sequence[str] = ()
) -> Ending:
    """Do everything that a recipe asks for and that is not done yet.

    Args:
        recipe: recipe of the run.
        directory: directory of the run; made, or continued.
        progress: is told what happens.
        backoff: seconds before a failed task is tried again; doubled every time.
        force: stages that are computed again, with all that depends on them, though nothing has changed.

    Raises:
        RequestError: the request is wrong; nothing has been computed.
        StorageError: the disk is full, or refuses otherwise; what is done is kept.
        KeyboardInterrupt: likewise kept.
    """
    with keep_drivers_out(recipe.input.run):
        return _run(make_plan(recipe, Path(directory)), progress, backoff, force)


def _run(plan: Plan, progress: Progress, backoff: float, force: Sequence[str]) -> Ending:
    check_own_directory(plan.directory, plan.identities)
    new = not (plan.directory / LEDGER).exists()
    check(plan, new=new)
    if plan.scale is not None and plan.scale.note is not None:
        progress.note(plan.scale.note)
    if new:
        look_through(plan)
        check_outputs((), plan)
    again = forced(plan.stages, force)
    for remark in plan.remarks:
        progress.note(remark)
    with opened(plan.directory) as (lock, ledger):
        fingerprints = ingredients(plan.stages, plan.directory, plan.identities)
        check_foundation(ledger.foundation(), plan)
        check_outputs(ledger.outputs(), plan)
        ledger.begin()
        ledger.lay_foundation(plan.foundation)
        write_text(plan.directory / RECIPE, strict_toml.dump(plan.recipe))
        _announce(ledger, fingerprints, again, progress)
        renew(ledger, plan, fingerprints, again)
        with session(plan, lock, ledger, progress) as bulletin:
            result = compute(ledger, plan, fingerprints, progress, backoff, bulletin)
            _tell_unknown(ledger, plan, progress)
        return report(ledger, plan, result)


def _tell_unknown(ledger: Ledger, plan: Plan, progress: Progress) -> None:
    """Say how many voxels of the raw data had no grey value."""
    if plan.recipe.input.raw is None:
        return
    count = ledger.counts("predict").get("not_finite", 0)
    if count:
        progress.note(
            f"{plan.recipe.input.raw}: {count:,} voxels are infinite or not a number; the network saw the mean there, "
            "and affinities to them are 0."
        )


def _announce(ledger: Ledger, fingerprints: Fingerprints, again: Mapping[str, str], progress: Progress) -> None:
    """Say what is computed again, and why."""
    settled = {summary.name: summary.settled for summary in ledger.summaries()}
    lines = list(changes(ledger.ingredients(), fingerprints, settled))
    lines += [f"Computing {name} again: {reason}." for name, reason in again.items()]
    for line in lines:
        log.info(line)
        progress.note(line)


@contextlib.contextmanager
def session(plan: Plan, lock: Lock, ledger: Ledger, progress: Progress) -> Iterator[Bulletin]:
    """Tells in the status file that a driver is at work; how it ended is noted whatever happens."""
    digest = recipe_digest(plan.directory, RECIPE)
    bulletin = Bulletin(plan.directory, lock.holder, ledger, plan.stages, digest, _planned(plan))
    lock.with_every_beat(bulletin.publish)
    bulletin.publish()
    keep_copy(ledger)
    try:
        yield bulletin
    except BaseException as error:
        log.error("stopped: %s: %s", type(error).__name__, error)
        with contextlib.suppress(StorageError, RequestError):
            ledger.end(130 if isinstance(error, KeyboardInterrupt) else 1)
            bulletin.end(130 if isinstance(error, KeyboardInterrupt) else 1)
        raise
    finally:
        progress.close()
    ledger.end(bulletin.verdict)
    bulletin.end(bulletin.verdict)
    keep_copy(ledger)


@contextlib.contextmanager
def opened(directory: Path) -> Iterator[tuple[Lock, Ledger]]:
    """Opens a run directory with its log, its lock and its ledger, and everybody else locked out of it."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
        handler = logging.FileHandler(directory / LOG, encoding="utf-8")
    except OSError as error:
        raise StorageError(f"The run directory {directory} cannot be written: {error.strerror}.") from error
    handler.handleError = lambda record: None  # type: ignore[method-assign]  # a full disk is told once, by the run
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    package = logging.getLogger(__package__.partition(".")[0])
    level = package.level
    package.addHandler(handler)
    package.setLevel(logging.INFO)
    try:
        with locked(directory) as lock, Ledger(directory / LEDGER, check=lock.check) as ledger:
            yield lock, ledger
    finally:
        package.removeHandler(handler)
        package.setLevel(level)
        with contextlib.suppress(OSError):
            handler.close()


def compute(
    ledger: Ledger, plan: Plan, fingerprints: Fingerprints, progress: Progress, backoff: float, bulletin: Bulletin
) -> Result:
    """Runs every task that the ledger does not have as done."""
    current = {name: fingerprint for name, (fingerprint, _) in fingerprints.items()}
    wanted = plan.recipe.cluster
    hangs = None if wanted.kind == "serial" else plan.directory / HANGS  # this process is not for a task to end
    loop = Loop(plan.stages, current, ledger, progress, plan.recipe.limits, backoff, hangs, bulletin.planned)
    if not loop.left:
        progress.note("Everything is done already.")
        return Result(0, 0)
    log.info("starting, %d tasks to do", loop.left)
    pools: set[cluster.PoolName] = {"gpu" if stage.resources.gpu else "cpu" for stage in plan.stages}
    executor = cluster.start(wanted.spec(plan.directory, plan.memory, pools), attempt.perform)
    try:
        if executor.dashboard:
            progress.note(f"Dask dashboard: {executor.dashboard}")
        bulletin.watch(loop.running, executor.capacity)
        result = loop.run(executor)
        log.info("ended: %d tasks failed, %d were not run because of that", result.failed, result.blocked)
        return result
    except KeyboardInterrupt:
        progress.note("Stopping. What is done is kept.")
        raise
    finally:
        executor.close()


def _planned(plan: Plan) -> dict[str, float]:
    """The seconds that each stage takes with all workers, by the table of unit costs."""
    return {stage.name: 3600 * stage.hours for stage in estimate(plan, shipped()).stages}


def report(ledger: Ledger, plan: Plan, result: Result) -> Ending:
    """Writes the report; returns how the run ended."""
    from ...tasks import scores as scores_task
    from ..report.page import ReportData, write_report

    recipe, places = plan.recipe, plan.places
    by_name = {stage.name: stage for stage in plan.stages}
    ending = Ending(
        directory=plan.directory,
        failed=result.failed,
        blocked=result.blocked,
        failures=tuple(
            f"{name} {by_name[name].index(number)}, tried {tries} times: {why.splitlines()[0]}"
            for name, number, tries, why in ledger.failures()
        ),
        stages=tuple(ledger.summaries()),
        seconds=ledger.seconds(),
        segmentation=places.segmentation if places.segmentation in plan.volumes else None,
        affinities=None if places.affinities is None else places.affinities.path,
        scores=None if recipe.evaluate is None or result.failed else scores_task.read(places.scores),
        this_time=ledger.seconds_of_session(),
        segment_sizes=_segment_sizes(ledger, plan.stages),
    )
    write_report(ReportData(ending, strict_toml.dump(recipe), _pictured(plan), versions()))
    return ending


def _pictured(plan: Plan) -> Volumes | None:
    """The volumes that the report has pictures of."""
    from ..report.pictures import Volumes

    if plan.places.segmentation not in plan.volumes:
        return None
    return Volumes(
        segmentation=plan.places.segmentation,
        raw=plan.recipe.input.raw,
        affinities=plan.places.affinities,
        channels=plan.channels,
        truth=None if plan.recipe.evaluate is None else plan.recipe.evaluate.truth,
        truth_offset=plan.truth_offset or (0, 0, 0),
        segmented=plan.grid.region,
    )


def _segment_sizes(ledger: Ledger, stages: Sequence[Stage]) -> tuple[int, ...]:
    """Counts the segments that have 1, 2–3, 4–7 … voxels."""
    from ...tasks.agglomerate import segments_by_power

    sizes: Counter[int] = Counter()
    for stage in stages:
        if stage.task == "agglomerate":
            sizes.update(segments_by_power(ledger.counts(stage.name)))
    return tuple(sizes[power] for power in range(max(sizes, default=-1) + 1))
