"""Stages whose tasks leave a mark on disk for every time they ran, and check that what they need came first."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from petavox.pipeline.errors import AffinityError, StorageError
from petavox.pipeline.geometry import Triple
from petavox.tasks.contract import Outcome, TaskConfig
from petavox.workflows.execution import attempt
from petavox.workflows.stages.stage import Stage

TROUBLES = {
    "raise": ValueError("bad block"),
    "request": AffinityError("NaN in it"),
    "storage": StorageError("disk full"),
}


class Config(TaskConfig):
    """`trouble` happens at the index `at`, `times` times; `needs` are marks of other stages that must be there."""

    folder: str
    stage: str
    needs: tuple[str, ...] = ()
    trouble: str = ""
    at: int = -1
    times: int = 10**6
    seconds: float = 0.0
    factor: int = 1


def run(config: Config, index: Triple) -> Outcome:
    folder, number = Path(config.folder), index[2]
    for stage in config.needs:
        if not (folder / stage / str(number) / "result").exists():
            raise AssertionError(f"{config.stage} {number} ran before {stage} {number}")
    mark = folder / config.stage / str(number)
    mark.mkdir(parents=True, exist_ok=True)
    tries = len(list(mark.glob("try*")))
    (mark / f"try{tries}").touch()
    time.sleep(config.seconds)
    if number == config.at and tries < config.times:
        if config.trouble == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        if config.trouble == "hang":
            time.sleep(1000)
        raise TROUBLES[config.trouble]
    (mark / "result").write_text(str(number * config.factor))
    return Outcome(voxels=1, counts={"sum": number})


def perform(task: str, config: str, indices: Sequence[Triple], terms: attempt.Terms) -> attempt.CallReport:
    return attempt.measure(sys.modules[__name__], config, indices, terms)


def chain(folder: Path, length: int, stages: str = "abc", **options: dict) -> list[Stage]:
    """Stages of `length` tasks, each task needing the same one of the stage before; options by the stage's name."""
    made: list[Stage] = []
    for name in stages:
        before = (made[-1].name,) if made else ()
        config = Config(folder=str(folder), stage=name, needs=before, **options.get(name, {}))
        needs = {stage: lambda index: [index] for stage in before}
        made.append(Stage(name, "fake", 1, config, (1, 1, length), needs))
    return made


def tries(folder: Path, stage: str) -> dict[int, int]:
    """How often each task of a stage was begun."""
    return {int(mark.name): len(list(mark.glob("try*"))) for mark in (folder / stage).glob("*")}


def results(folder: Path, stage: str) -> dict[int, int]:
    """What each task of a stage left."""
    return {int(mark.parent.name): int(mark.read_text()) for mark in (folder / stage).glob("*/result")}
