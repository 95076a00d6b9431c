"""Runs one block of each block-level stage on the plan's own data, for what it takes; everything written is removed.

1. The block is the one nearest to the middle of the volume that holds data. A folder beside the run directory gets
   volumes and tables as a run would make them (`_scratch_plan`).
2. Raw data: the block is predicted, and its mirror images stand for the blocks before it (`_mirror`).
3. Supervoxels are made of the blocks before it and of the block; then its faces, its merging, its relabelling and,
   where there is a truth, its contingency table are made. Before relabelling, what the octree would assign is taken to
   be what was passed up (`_assign`).
4. All of this happens in one worker process such as runs have. What counts is a stage's last call, when code is loaded.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from .. import cluster
from ..cluster import Completion
from ..pipeline.errors import RequestError, StorageError, TaskError
from ..pipeline.geometry import Box, Octree, Triple, triple
from ..pipeline.volumes import create_volume, open_volume
from ..tasks import records
from . import attempt
from .attempt import Report
from .calibration import Calibration, made_from
from .plan import WORKER_BYTES, Plan, make_plan
from .rates import Cost, Rates
from .recipe import Output
from .stages import Stage
from .work import Work, faces_before, kind_of, open_surface_of, seen

BLOCK_LEVEL = ("predict", "supervoxels", "faces", "agglomerate-0", "relabel", "contingency")
_LOOK: Triple = (16, 64, 64)  # voxels in the middle of a block that are looked at for data
_WAIT = 1.0


@dataclass(frozen=True)
class Measured:
    """One task, run once: its cost, memory being what it added to its worker; the seconds that its process computed;
    and what it counted.
    """

    cost: Cost
    processor_seconds: float
    counts: Mapping[str, int]


def measure(task: str, config: str, index: Triple) -> tuple[Report, float, int, int]:
    """Run a task in a worker; with the seconds that its process computed, and the bytes that it read and wrote."""
    before = _counters()
    report = attempt.perform(task, config, [index], attempt.Terms(seconds=0.0))
    seconds, read, written = (after - start for after, start in zip(_counters(), before, strict=True))
    return report, seconds, int(read), int(written)


def _counters() -> tuple[float, int, int]:
    """Of this process so far: seconds of all threads, bytes got from files and given to them, 0 where nobody counts."""
    seconds = time.process_time()
    try:
        moved = psutil.Process().io_counters()
        return seconds, moved.read_chars, moved.write_chars
    except AttributeError:
        return seconds, 0, 0


def calibrate(plan: Plan, rates: Rates, note: Callable[[str], None]) -> Calibration:
    """Measure a plan's stages on one block.

    Args:
        plan: of the run, which may exist and be at work; nothing in it changes.
        rates: the table that the measured costs are set against.
        note: is told what is being run.

    Raises:
        RequestError: no block that was looked at holds data.
        StorageError: there is no room for the block, or a folder cannot be written.
        TaskError: a stage failed on the block.
    """
    block = _find_block(plan)
    with _folder(plan.directory) as folder, one_worker(plan, folder) as run:
        scratch = _scratch_plan(plan, folder)
        for path, spec in scratch.volumes.items():
            create_volume(path, spec)
        stages = {kind_of(stage): stage for stage in scratch.stages}
        measured = {}
        for kind in BLOCK_LEVEL:
            if kind not in stages or (kind == "contingency" and not _scored(stages[kind], plan, block)):
                continue
            note(f"Measuring {kind} on block {list(block)}")
            if kind == "relabel":
                _assign(scratch, block)
            for index in _rehearsals(kind, block):
                run(stages[kind], index)
            measured[kind] = run(stages[kind], block)
            if kind == "predict":
                _mirror(scratch, block)
    return _calibration(plan, rates, block, measured, {kind: stages[kind] for kind in measured})


def _rehearsals(kind: str, block: Triple) -> list[Triple]:
    """What is run before a stage's block counts: blocks that it needs, or itself, so that code is loaded."""
    before = [index for _, index in _before(block)]
    if kind == "predict":
        return []  # takes long enough for its loading not to matter
    return before if kind == "supervoxels" and before else [block]


def _calibration(
    plan: Plan, rates: Rates, block: Triple, measured: dict[str, Measured], stages: dict[str, Stage]
) -> Calibration:
    box, faces, surface = plan.grid.box(block), faces_before(plan.grid, block), open_surface_of(plan.grid, block)
    leaf = measured["supervoxels"].counts if "supervoxels" in measured else None
    contacts = leaf["contacts"] if leaf else plan.density.contacts * box.voxels
    joined = measured["agglomerate-0"].counts["given_contacts"]
    across = measured["faces"].counts["face_contacts"] if "faces" in measured else 0
    patches = seen(box.shape, plan.patch)
    work = {
        "predict": Work(1, box.voxels, 0, patches, plan.operations * patches),
        "supervoxels": Work(1, box.voxels, contacts),
        "faces": Work(1, faces, across),
        "agglomerate-0": Work(1, 0, joined),
        "relabel": Work(1, box.voxels, joined),
        "contingency": Work(1, box.voxels),
    }
    modelled = {kind: rates.cost(kind, work[kind]) for kind in measured}
    return Calibration(
        made_from=made_from(plan),
        block=block,
        fragments=leaf["fragments"] / box.voxels if leaf else plan.density.fragments,
        contacts=contacts / box.voxels,
        joined=joined / box.voxels,
        across=across / faces if faces else 0.0,
        passed_up=measured["agglomerate-0"].counts["residual_contacts"] / surface if surface else 0.0,
        costs={kind: found.cost for kind, found in measured.items()},
        factors={kind: _factors(found.cost, modelled[kind], stages[kind]) for kind, found in measured.items()},
    )


def _factors(cost: Cost, modelled: Cost, stage: Stage) -> Cost:
    """Measured over stated; 1 where there is nothing to divide."""
    stated = modelled.model_copy(update={"memory": float(stage.resources.memory)})
    pairs = {name: (getattr(cost, name), getattr(stated, name)) for name in Cost.model_fields}
    return Cost(**{name: found / expected if found and expected else 1.0 for name, (found, expected) in pairs.items()})


def _find_block(plan: Plan) -> Triple:
    """The block nearest to the middle that holds data, among some that are spread over the volume."""
    source = open_volume(plan.recipe.input.raw or plan.places.affinities or plan.places.fragments)
    grid = plan.grid
    axes = [sorted({n * eighth // 8 for eighth in (4, 2, 6, 1, 7)}) for n in grid.shape]
    middle = [n // 2 for n in grid.shape]

    def distance(index: tuple[int, ...]) -> float:
        return sum(abs(i - m) / n for i, m, n in zip(index, middle, grid.shape, strict=True))

    candidates = sorted(itertools.product(*axes), key=distance)
    for index in map(triple, candidates):
        box = grid.box(index)
        margin = [max(0, (n - look) // 2) for n, look in zip(box.shape, _LOOK, strict=True)]
        middle_of_it = box.grow([-m for m in margin])
        if (source.read(middle_of_it) != source.spec.fill_value).any():
            return index
    raise RequestError(
        f"A calibration needs a block that holds data; {source.path} has none in the middle of {len(candidates)} blocks"
        " that are spread over it. Plan without --calibrate."
    )


def _scratch_plan(plan: Plan, folder: Path) -> Plan:
    """The plan of the same run in another directory, with nothing to be written outside it."""
    wanted = plan.recipe.input
    if wanted.run is not None:  # it may be named relative to the run directory
        wanted = wanted.model_copy(update={"run": os.path.normpath(plan.directory / wanted.run)})
    output = Output(chunk=plan.recipe.output.chunk)
    return make_plan(plan.recipe.model_copy(update={"input": wanted, "output": output}), folder / "run")


@contextlib.contextmanager
def _folder(directory: Path) -> Iterator[Path]:
    """A folder beside a run directory, on the same disk, that is removed again."""
    parent = directory.parent
    while not parent.exists():
        parent = parent.parent
    try:
        folder = Path(tempfile.mkdtemp(prefix=f".{directory.name}-calibration-", dir=parent))
    except OSError as error:
        raise StorageError(f"{parent} cannot be written: {error.strerror}. Choose another with --run.") from error
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def one_worker(plan: Plan, folder: Path) -> Iterator[Callable[[Stage, Triple], Measured]]:
    """A worker process of this machine, as something that runs one task of a stage."""
    executor = cluster.start(cluster.Place("local", {"cpu": cluster.Pool(1, plan.memory)}, folder), measure)

    def run(stage: Stage, index: Triple) -> Measured:
        executor.submit(index, "cpu", stage.task, stage.config.model_dump_json(), index)
        while not (completions := executor.completed(_WAIT)):
            pass
        return _outcome(completions[0], stage, index)

    try:
        yield run
    finally:
        executor.close()


def _outcome(completion: Completion, stage: Stage, index: Triple) -> Measured:
    """What a call came to.

    Raises:
        RequestError, StorageError, TaskError: the task failed.
    """
    where = f"Calibrating {stage.name} on block {list(index)} failed"
    if completion.value is None:
        why = (
            completion.reason or "its worker died, perhaps for lack of memory" if completion.lost else completion.error
        )
        raise TaskError(f"{where}: {why}")
    report, processor, read, written = completion.value
    (tried,) = report.attempts
    if tried.failure is not None:
        kind = RequestError if tried.failure.request else StorageError if tried.failure.storage else TaskError
        raise kind(f"{where}: {tried.failure.reason}")
    added = max(0, report.peak_memory - WORKER_BYTES)
    cost = Cost(seconds=tried.seconds, read=read, written=written, memory=added)
    return Measured(cost, processor, tried.outcome.counts)


def _before(block: Triple) -> Iterator[tuple[int, Triple]]:
    """The blocks before a block, each with its axis."""
    for axis in range(3):
        if block[axis]:
            z, y, x = (i - (k == axis) for k, i in enumerate(block))
            yield axis, (z, y, x)


def _mirror(scratch: Plan, block: Triple) -> None:
    """Give the blocks before a predicted block its mirror images: so nothing else need be predicted."""
    volume = open_volume(str(scratch.places.affinities), writable=True)
    values = volume.read(scratch.grid.box(block))
    for axis, before in _before(block):
        box = scratch.grid.box(before)
        padding = [(0, 0)] * 4
        padding[axis + 1] = (box.shape[axis], 0)
        image = np.pad(values, padding, mode="symmetric")
        volume.write(box, image[(slice(None), *Box.of_shape(box.shape).slices())])


def _assign(scratch: Plan, block: Triple) -> None:
    """Stand in for the octree above a block: whatever it has passed up becomes a segment of its own."""
    octree = Octree(scratch.grid.shape)
    if not octree.height:
        return
    node = records.read_targets(scratch.places.tables, 0, block)
    passed_up = np.unique(node.target[~node.final])
    records.write_assignment(scratch.places.tables, 1, octree.parent(block), passed_up, passed_up)


def _scored(stage: Stage, plan: Plan, block: Triple) -> bool:
    """Whether all of a block is scored."""
    config: Any = stage.config
    return Box(config.start, config.stop).contains(plan.grid.box(block))
