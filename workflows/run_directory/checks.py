"""Checks runs as others find them: whether a directory is one, and whether its supervoxels or segments are finished."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from ... import tasks
from ...pipeline.errors import RequestError
from ..stages.fingerprint import Ingredients, differences, digest
from .layout import CLUSTER, COPY, HANGS, LEDGER, LOG
from .ledger import Ledger
from .ledger_schema import Summary
from .lock import LOCK, read_locked

LEAVES = ("supervoxels", "faces")
"""The stages whose tables and fragments another agglomeration starts from."""
_BEFORE_THE_LEDGER = {LOG, LOCK, CLUSTER, HANGS}  # what a driver leaves that is killed just as it starts
_OF_THE_SYSTEM = (".DS_Store", ".nfs", "._")


def check_run_directory(directory: Path) -> None:
    """Make sure that a directory is a run's.

    Raises:
        RequestError: it holds no ledger.
    """
    if (directory / COPY).exists() and not (directory / LEDGER).exists():
        raise RequestError(
            f"The ledger of {directory} has gone. Put {LEDGER} back if you have it; or go on from the copy of it:"
            f" petavox audit {directory} --repair"
        )
    if not (directory / LEDGER).exists():
        raise RequestError(f"A run directory holds a {LEDGER}; {directory} does not. Name the directory of a run.")


def check_own_directory(directory: Path, inputs: Iterable[str]) -> None:
    """Make sure that a run may write into a directory: it is a run's, or nothing but the run's own inputs is there.

    Args:
        directory: directory of the run, absolute.
        inputs: paths of volumes that the run reads.

    Raises:
        RequestError: something else lies there.
    """
    if (directory / LEDGER).exists() or (directory / COPY).exists():
        check_run_directory(directory)
        return
    if directory.exists() and not directory.is_dir():
        raise RequestError(f"A run has a directory of its own; {directory} is a file. Choose another with --run.")
    entries = sorted(entry.name for entry in directory.iterdir()) if directory.exists() else []
    known = _BEFORE_THE_LEDGER | {Path(path).name for path in inputs if Path(path).parent == directory}
    strange = [name for name in entries if name not in known and not name.startswith(_OF_THE_SYSTEM)]
    if strange:
        more = f" and {len(strange) - 3} more" if len(strange) > 3 else ""
        raise RequestError(
            f"A run has a directory of its own; {directory} holds {', '.join(strange[:3])}{more}, but no {LEDGER}: it"
            f" is not a run's. Choose another directory, such as --run {directory.with_name(directory.name + '-run')}"
        )


@contextlib.contextmanager
def keep_drivers_out(directory: str | None) -> Iterator[None]:
    """Keeps drivers out of a run, if there is one, while another run starts from what it has left.

    Raises:
        RequestError: it is no run, or a driver is at work there.
    """
    if directory is None:
        yield
        return
    check_run_directory(Path(directory))
    with read_locked(Path(directory)):
        yield


def check_leaves(directory: Path, settings: Mapping[str, Any]) -> str:
    """Make sure that a run's supervoxels are done, and are those that the settings ask for.

    Args:
        directory: directory of the run.
        settings: values that the config of the supervoxels must have, by name.

    Returns:
        The identity of what these stages have left.

    Raises:
        RequestError: something is not done, was made with other settings, or by other code.
    """
    check_run_directory(directory)
    with Ledger(directory / LEDGER, readonly=True) as ledger:
        made_from, summaries = ledger.ingredients(), ledger.summaries()
    _check_done(directory, LEAVES, summaries)
    asked = {"version": tasks.load("supervoxels").VERSION}
    found = made_from["supervoxels"]
    changed = [*differences(found, asked | {"config": {**found["config"], **settings}})]
    changed += _code_of_faces(made_from["faces"])
    if changed:
        raise RequestError(
            f"Another segmentation starts from the supervoxels that a run has left; those of {directory} are others:"
            f" {'; '.join(changed)}. That needs the affinities: run a recipe of its own for it."
        )
    return digest([digest(made_from[name]) for name in LEAVES])


def check_segmentation(directory: Path) -> None:
    """Make sure that every block of a run's segmentation is done.

    Raises:
        RequestError: something is not.
    """
    check_run_directory(directory)
    with Ledger(directory / LEDGER, readonly=True) as ledger:
        _check_done(directory, ("relabel",), ledger.summaries())


def check_supervoxels(directory: Path) -> None:
    """Make sure that every block of a run has its supervoxels.

    Raises:
        RequestError: it is no run, starts from another one, or something is not done.
    """
    check_run_directory(directory)
    with Ledger(directory / LEDGER, readonly=True) as ledger:
        _check_done(directory, ("supervoxels",), ledger.summaries())


def check_affinities(directory: Path) -> None:
    """Make sure that the affinities of a run that began with raw data are all there; others were there before it.

    Raises:
        RequestError: it is no run, or something is not predicted yet.
    """
    check_run_directory(directory)
    with Ledger(directory / LEDGER, readonly=True) as ledger:
        summaries = ledger.summaries()
    if any(summary.name == "predict" for summary in summaries):
        _check_done(directory, ("predict",), summaries)


def _check_done(directory: Path, stages: tuple[str, ...], summaries: list[Summary]) -> None:
    known = {summary.name: summary for summary in summaries}
    for name in stages:
        if name not in known:
            raise RequestError(f"{directory} has no stage {name}: it starts from another run, or ends with affinities.")
        done = known[name].settled
        if done < known[name].tasks:
            raise RequestError(
                f"The {name} of {directory} must be done first; {done} of {known[name].tasks} tasks are."
                f" petavox retry {directory}"
            )


def _code_of_faces(found: Ingredients) -> list[str]:
    now = tasks.load("faces").VERSION
    return [] if found["version"] == now else [f"the code of faces changed (version {found['version']} → {now})"]
