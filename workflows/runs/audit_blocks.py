"""Inspects what tasks have left in storage, on workers: that it reads, and that it is what the ledger says."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ... import tasks
from ...cluster import Executor
from ...pipeline.checksums import unpacked
from ...pipeline.errors import PetavoxError, TaskError
from ...pipeline.geometry import Triple
from ..execution.retries import MAX_LOSSES
from ..stages.stage import Stage

GROUP = 8
"""Tasks whose pieces one call looks at."""

Item = tuple[Triple, int]  # a task's index, and the checksum that the ledger has of it


@dataclass(frozen=True)
class Flaw:
    """Describes a piece of storage that is not what the ledger says.

    Args:
        index: index of the task that left it.
        path: path of the volume, table or file.
        expected: checksum in the ledger.
        found: checksum in storage; None where it cannot be read.
        reason: reason in words.
    """

    index: Triple
    path: str
    expected: int
    found: int | None
    reason: str

    @property
    def is_silent(self) -> bool:
        """Tells whether the piece reads without an error, so that later tasks may have taken it for good."""
        return self.found is not None


def inspect_and_clear(task: str, config: str, items: Sequence[Item]) -> list[Flaw]:
    """Finds the flaws in the pieces of several tasks, and clears each, so that running the tasks again mends it.

    A task writes nothing where a block, or a slab of one, holds nothing: what lies there by mistake would stay.
    """
    return inspect(task, config, items, clear=True)


def inspect(task: str, config: str, items: Sequence[Item], *, clear: bool = False) -> list[Flaw]:
    """Finds the flaws in the pieces of several tasks; holds one piece at a time."""
    module = tasks.load(task)
    parsed = module.Config.model_validate_json(config)
    flaws = []
    for index, checksum in items:
        pieces = module.pieces(parsed, index)
        for piece, expected in zip(pieces, unpacked(checksum, len(pieces)), strict=True):
            found, reason = None, ""
            try:
                found = piece.checksum()
                if found != expected:
                    reason = "it reads as if it had never been written" if piece.is_blank() else "it has other values"
            except PetavoxError as error:
                reason = str(error)
            if reason and clear:
                with contextlib.suppress(PetavoxError):  # a volume that cannot be opened is made anew before
                    piece.clear()
            if reason:
                flaws.append(Flaw(index, piece.path, expected, found, reason))
    return flaws


def inspect_stage(
    stage: Stage,
    done: npt.NDArray[np.bool_],
    checksums: npt.NDArray[np.uint64],
    executor: Executor,
    advance: Callable[[int], None],
) -> Iterator[Flaw]:
    """Finds the flaws of a stage, in no particular order.

    Args:
        stage: whose tasks have left something.
        done: marks the tasks to inspect.
        checksums: checksums of what they left, by the ledger.
        executor: runs `inspect`, or `inspect_and_clear`.
        advance: is told how many more tasks have been looked at.

    Raises:
        TaskError: a worker cannot do it, however often it is tried.
    """
    numbers = np.flatnonzero(done)
    config = stage.config.model_dump_json()
    waiting: list[tuple[int, int]] = []  # first of a group, and how often it was lost
    flying: dict[tuple[int, int], int] = {}
    first = 0
    while first < len(numbers) or waiting or flying:
        executor.expect({"cpu": len(waiting) + len(flying) - (first - len(numbers)) // GROUP})
        while len(flying) < executor.capacity().get("cpu", 0) and (waiting or first < len(numbers)):
            group = waiting.pop() if waiting else (first, 0)
            first = max(first, group[0] + GROUP)
            some = numbers[group[0] : group[0] + GROUP].tolist()
            flying[group] = len(some)
            items = [(stage.index(number), int(checksums[number])) for number in some]
            executor.submit(group, "cpu", stage.task, config, items)
        for completion in executor.completed(0.5):
            size = flying.pop(completion.key)
            start, losses = completion.key
            if completion.error is not None or (completion.lost and losses + 1 >= MAX_LOSSES):
                why = completion.error or completion.reason or "its worker died again and again"
                raise TaskError(f"{stage.name} {stage.index(int(numbers[start]))} cannot be looked at: {why}")
            if completion.lost:
                waiting.append((start, losses + 1))
                continue
            advance(size)
            yield from completion.value
