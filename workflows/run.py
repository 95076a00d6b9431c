"""A run from its recipe to its report, in a directory that can be left and come back to at any moment."""

from __future__ import annotations

import contextlib
import importlib.metadata
import logging
import platform
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from .. import cluster
from ..pipeline.errors import RequestError, StorageError
from ..pipeline.volumes import create_volume
from . import attempt, strict_toml
from .feasible import check
from .fingerprint import Ingredients, differences, ingredients, portable
from .finished import LEDGER, RECIPE, left_alone
from .ledger import Ledger, Summary
from .lock import locked
from .loop import Loop, Result
from .plan import Plan, look_through, make_plan
from .progress import Progress
from .recipe import Recipe

if TYPE_CHECKING:
    from ..pipeline.evaluation.scores import Scores

LOG = "log.txt"
HANGS = "hangs"

log = logging.getLogger(__name__)
Fingerprints = Mapping[str, tuple[str, Ingredients]]


@dataclass(frozen=True)
class Ending:
    """How a run ended.

    Args:
        directory: of the run.
        failed: tasks that were set aside.
        blocked: tasks that were not run because they need one of those.
        failures: one line for each of the first that were set aside.
        stages: what the ledger says of each stage.
        seconds: how long the run was at work, all sessions together.
        segmentation: path of the volume.
        report: path of the page.
        scores: if there is a truth, and nothing failed.
    """

    directory: Path
    failed: int
    blocked: int
    failures: tuple[str, ...]
    stages: tuple[Summary, ...]
    seconds: float
    segmentation: str
    report: Path
    scores: Scores | None

    @property
    def exit_status(self) -> int:
        return 1 if self.failed else 0


def run(recipe: Recipe, directory: Path, progress: Progress, *, backoff: float = 1.0) -> Ending:
    """Do everything that a recipe asks for and that is not done yet.

    Args:
        recipe: what is asked for.
        directory: of the run; made, or continued.
        progress: is told what happens.
        backoff: seconds before a failed task is tried again; doubled every time.

    Raises:
        RequestError: the request is wrong; nothing has been computed.
        StorageError: the disk is full, or refuses otherwise; what is done is kept.
        KeyboardInterrupt: likewise kept.
    """
    with left_alone(recipe.input.run):
        return _run(make_plan(recipe, directory), progress, backoff)


def _run(plan: Plan, progress: Progress, backoff: float) -> Ending:
    _check_directory(plan.directory)
    new = not (plan.directory / LEDGER).exists()
    check(plan, new=new)
    if new:
        look_through(plan)
        _check_outputs({}, plan)
    with _opened(plan) as ledger:
        fingerprints = ingredients(plan.stages, plan.directory, plan.identities)
        _check_foundation(ledger, plan)
        _check_outputs(ledger.outputs(), plan)
        ledger.begin()
        ledger.lay_foundation(plan.foundation)
        _write(plan.directory / RECIPE, strict_toml.dump(plan.recipe))
        _renew(ledger, plan, fingerprints, progress)
        try:
            result = _compute(ledger, plan, fingerprints, progress, backoff)
        except BaseException as error:
            log.error("stopped: %s: %s", type(error).__name__, error)
            with contextlib.suppress(StorageError, RequestError):
                ledger.end(130 if isinstance(error, KeyboardInterrupt) else 1)
            raise
        finally:
            progress.close()
        ledger.end(1 if result.failed else 0)
        log.info("ended: %d tasks failed, %d were not run because of that", result.failed, result.blocked)
        return _report(ledger, plan, result)


@contextlib.contextmanager
def _opened(plan: Plan) -> Iterator[Ledger]:
    """The run directory, with everybody else locked out of it."""
    try:
        plan.directory.mkdir(parents=True, exist_ok=True)
        handler = logging.FileHandler(plan.directory / LOG, encoding="utf-8")
    except OSError as error:
        raise StorageError(f"The run directory {plan.directory} cannot be written: {error.strerror}.") from error
    handler.handleError = lambda record: None  # type: ignore[method-assign]  # a full disk is told once, by the run
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    package = logging.getLogger(__package__.partition(".")[0])
    level = package.level
    package.addHandler(handler)
    package.setLevel(logging.INFO)
    try:
        with locked(plan.directory) as lock, Ledger(plan.directory / LEDGER, check=lock.check) as ledger:
            yield ledger
    finally:
        package.removeHandler(handler)
        package.setLevel(level)
        with contextlib.suppress(OSError):
            handler.close()


def _check_directory(directory: Path) -> None:
    if (directory / RECIPE).exists() and not (directory / LEDGER).exists():
        raise RequestError(
            f"A run writes its own {RECIPE} into its directory; {directory} holds one but no {LEDGER}, so it is not a"
            " run's. Choose another directory with --run."
        )


def _check_foundation(ledger: Ledger, plan: Plan) -> None:
    """A run is continued on the same data, the same network and the same blocks, or not at all."""
    before = ledger.foundation()
    changed = [
        f"{name} is {_brief(plan.foundation.get(name))}, was {_brief(before.get(name))}"
        for name in {**before, **plan.foundation}
        if before and before.get(name) != plan.foundation.get(name)
    ]
    if changed:
        raise RequestError(
            f"The run directory {plan.directory} was made with another recipe: {'; '.join(changed)}."
            " Choose another directory with --run, or delete this one."
        )


def _brief(value: object) -> str:
    return f"{value[:12]}…" if isinstance(value, str) and len(value) > 12 else str(value)


def _check_outputs(made: Mapping[str, str], plan: Plan) -> None:
    """Nothing is ever written over that this run has not made."""
    for stage in plan.stages:
        for output in stage.outputs:
            if portable(output, plan.directory) not in made and "://" not in output and Path(output).exists():
                raise RequestError(
                    f"Stage {stage.name} would write {output}, which exists and was not made by this run."
                    " Move it away, or choose another place under [output]."
                )


def _renew(ledger: Ledger, plan: Plan, fingerprints: Fingerprints, progress: Progress) -> None:
    """Say what has changed since the last time, forget what is stale, and make what is missing, in that order."""
    for line in _changes(ledger, fingerprints):
        log.info(line)
        progress.note(line)
    ledger.adopt((stage.name, len(stage), *fingerprints[stage.name]) for stage in plan.stages)
    made = ledger.outputs()
    for stage in plan.stages:
        fingerprint = fingerprints[stage.name][0]
        for output in stage.outputs:
            known_as = portable(output, plan.directory)
            current = made.get(known_as) == fingerprint
            if current and (Path(output).exists() or "://" in output):
                continue
            if current:
                ledger.forget(stage.name)
            elif known_as in made:
                _remove(output)
            # Claimed before it is made, known as good after: an interruption between the two is mended here.
            ledger.made(known_as, stage.name, "")
            if output in plan.volumes:
                create_volume(output, plan.volumes[output])
            ledger.made(known_as, stage.name, fingerprint)


def _changes(ledger: Ledger, fingerprints: Fingerprints) -> Iterator[str]:
    """What will be computed again, and why: which field, its old value and its new one."""
    before = ledger.ingredients()
    done = {summary.name: summary.settled for summary in ledger.summaries()}
    reasons: dict[str, list[str]] = {}
    dependents = []
    for name, (_, after) in fingerprints.items():
        if before.get(name) == after or not done.get(name):
            continue
        found = [line for line in differences(before[name], after) if not line.startswith("it needs ")]
        if found:
            reasons.setdefault("; ".join(found), []).append(name)
        else:
            dependents.append(name)
    for reason, names in reasons.items():
        yield f"Computing {', '.join(names)} again: {reason}."
    if dependents:
        yield f"Computing {', '.join(dependents)} again: they depend on that."


def _remove(path: str) -> None:
    if "://" in path:
        raise RequestError(
            f"{path} is out of date and cannot be removed from here. Remove it, or choose another place."
        )
    target = Path(path)
    if target.is_dir():
        shutil.rmtree(target)
    else:
        target.unlink(missing_ok=True)


def _compute(ledger: Ledger, plan: Plan, fingerprints: Fingerprints, progress: Progress, backoff: float) -> Result:
    current = {name: fingerprint for name, (fingerprint, _) in fingerprints.items()}
    done = {stage.name: ledger.done(stage.name, len(stage), current[stage.name]) for stage in plan.stages}
    left = sum(len(stage) for stage in plan.stages) - sum(int(np.count_nonzero(bits)) for bits in done.values())
    if not left:
        progress.note("Everything is done already.")
        return Result(0, 0)
    log.info("starting, %d tasks to do", left)
    wanted = plan.recipe.cluster
    pools: set[cluster.PoolName] = {"gpu" if stage.resources.gpu else "cpu" for stage in plan.stages}
    executor = cluster.start(wanted.place(plan.directory, plan.memory, pools), attempt.perform)
    try:
        if executor.dashboard:
            progress.note(f"Dask dashboard: {executor.dashboard}")
        hangs = None if wanted.kind == "serial" else plan.directory / HANGS  # this process is not for a task to end
        limits = plan.recipe.limits
        return Loop(plan.stages, current, done, ledger, executor, progress, limits, backoff, hangs).run()
    except KeyboardInterrupt:
        progress.note("Stopping. What is done is kept.")
        raise
    finally:
        executor.close()


def _report(ledger: Ledger, plan: Plan, result: Result) -> Ending:
    from ..tasks import scores as scores_task
    from .report import ReportData, write_report

    recipe, places = plan.recipe, plan.places
    scores = None if recipe.evaluate is None or result.failed else scores_task.read(places.scores)
    by_name = {stage.name: stage for stage in plan.stages}
    failures = tuple(
        f"{name} {by_name[name].index(number)}, tried {tries} times: {why.splitlines()[0]}"
        for name, number, tries, why in ledger.failures()
    )
    stages, seconds = tuple(ledger.summaries()), ledger.seconds()
    data = ReportData(
        title=plan.directory.name,
        recipe=strict_toml.dump(recipe),
        stages=stages,
        seconds=seconds,
        segmentation=places.segmentation,
        raw=recipe.input.raw,
        affinities=places.affinities,
        truth=None if recipe.evaluate is None else recipe.evaluate.truth,
        truth_offset=plan.truth_offset or (0, 0, 0),
        scores=scores,
        segment_sizes=_segment_sizes(ledger, plan),
        failures=failures,
        versions=versions(),
    )
    page = write_report(plan.directory, data)
    return Ending(
        directory=plan.directory,
        failed=result.failed,
        blocked=result.blocked,
        failures=failures,
        stages=stages,
        seconds=seconds,
        segmentation=places.segmentation,
        report=page,
        scores=scores,
    )


def _segment_sizes(ledger: Ledger, plan: Plan) -> tuple[int, ...]:
    """How many segments have 1, 2–3, 4–7 … voxels."""
    sizes: dict[int, int] = {}
    for stage in plan.stages:
        if stage.task == "agglomerate":
            for name, count in ledger.counts(stage.name).items():
                if name.startswith("segments_2e"):
                    power = int(name.removeprefix("segments_2e"))
                    sizes[power] = sizes.get(power, 0) + count
    return tuple(sizes.get(power, 0) for power in range(max(sizes, default=-1) + 1))


def versions() -> dict[str, str]:
    """What computes here, by name."""
    names = ("numpy", "numba", "torch", "tensorstore", "zarr", "dask", "distributed", "pyarrow")
    known = {"petavox": _own_version(), "python": platform.python_version()}
    for name in names:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            known[name] = importlib.metadata.version(name)
    return known


def _own_version() -> str:
    from .. import __version__

    return __version__


def _write(path: Path, text: str) -> None:
    scratch = path.with_name(f".{path.name}.partial")
    try:
        scratch.write_text(text, encoding="utf-8")
        scratch.replace(path)
    except OSError as error:
        scratch.unlink(missing_ok=True)
        raise StorageError(f"{path} cannot be written: {error.strerror}.") from error
