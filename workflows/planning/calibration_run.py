"""Runs blocks of the plan's own data through every stage, for what they take; everything written is removed.

1. The block nearest to the middle of the volume that holds data is predicted, if the run starts from raw data, and its
   supervoxels are made: from the volume itself, as a run would (`_on_the_volume`).
2. A window of up to 2 × 2 × 2 blocks, that block and those before it, becomes a volume of its own: copied out of the
   affinities, or mirror images of what was predicted (`_fill`). All stages run on it, from supervoxels to scores, so
   that every task finds what it needs (`run_all`).
3. Both happen beside the run directory, in one worker process such as runs have.
"""

from __future__ import annotations

import contextlib
import itertools
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import psutil

from ... import cluster
from ...cluster import Completion
from ...pipeline.errors import RequestError, StorageError, TaskError
from ...pipeline.geometry import BlockGrid, Box, Triple, triple
from ...pipeline.volumes import VolumeSource, create_volume, default_chunks, read_nearest_voxels
from ..execution import attempt
from ..execution.attempt import Report
from ..recipes.segmentation_recipe import Evaluate, Input, Output
from ..run_directory.scratch import scratch_folder
from ..stages.stage import Stage
from .calibration import UPPER, Calibration, made_from
from .plan import WORKER_BYTES, Plan, make_plan
from .unit_costs import Cost, Rates
from .workload import Growth, Work, Workload, between, faces_before, inner_faces, kind_of, open_surface

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


Runner = Callable[[Stage, Triple], Measured]


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
    """Measure a plan's stages on some of its blocks.

    Args:
        plan: of the run, which may exist and be at work; nothing in it changes.
        rates: the table that the measured costs are set against.
        note: is told what is being run.

    Raises:
        RequestError: there are no affinities or raw data, or no block that was looked at holds data.
        StorageError: there is no room for the blocks, or a folder cannot be written.
        TaskError: a stage failed on a block.
    """
    if plan.recipe.input.run is not None:
        raise RequestError(
            "A calibration runs all stages from affinities or raw data on; this run starts from the supervoxels of"
            f" {plan.recipe.input.run}. Plan without --calibrate."
        )
    block = _find_block(plan)
    with _scratch(plan.directory) as folder, one_worker(plan, folder) as run:
        source, measured = _on_the_volume(plan, block, folder, run, note)
        window = _window_plan(plan, block, source, folder)
        found = run_all(window, run, note)
    return _calibration(plan, rates, block, window, found, measured)


@dataclass(frozen=True)
class _Source:
    """One block on the grid of the volume: the plan in a scratch directory, and the block."""

    plan: Plan
    block: Triple

    def measure(self, run: Runner, task: str) -> Measured:
        return run(next(stage for stage in self.plan.stages if stage.task == task), self.block)


def _on_the_volume(
    plan: Plan, block: Triple, folder: Path, run: Runner, note: Callable[[str], None]
) -> tuple[_Source, dict[str, Measured]]:
    """Predict a block, if there are no affinities, and make its supervoxels, of which the first time loads code; a
    network takes so long that its loading does not matter.
    """
    output = Output(chunk=plan.recipe.output.chunk)
    scratch = make_plan(plan.recipe.model_copy(update={"output": output, "evaluate": None}), folder / "volume")
    for path, spec in scratch.volumes.items():
        create_volume(path, spec)
    source, measured = _Source(scratch, block), {}
    if plan.recipe.input.raw is not None:
        note(f"Predicting block {list(block)}")
        measured["predict"] = source.measure(run, "predict")
    note(f"Measuring supervoxels on block {list(block)}")
    for _ in range(2):
        measured["supervoxels"] = source.measure(run, "supervoxels")
    return source, measured


def _window_plan(plan: Plan, block: Triple, source: _Source, folder: Path) -> Plan:
    """The plan of a run over the window as a volume of its own, with affinities in place."""
    before = triple([max(0, i - 1) for i in block])
    last = triple([min(i + 1, n - 1) for i, n in zip(before, plan.grid.shape, strict=True)])
    box = Box(plan.grid.box(before).start, plan.grid.box(last).stop)
    affinities = _affinities(source.plan).open()
    chunk, shard = default_chunks(plan.grid.block, box.shape)
    spec = replace(affinities.spec, shape=box.shape, translation=(0, 0, 0), chunk=chunk, shard=shard)
    window = create_volume(folder / "affinities.zarr", spec)
    grid = BlockGrid(box.shape, plan.grid.block)
    predicted = affinities.read(plan.grid.box(block)) if plan.recipe.input.raw is not None else None
    for index in grid.indices():
        place = grid.box(index)
        copied = affinities.read(place.shift(box.start)) if predicted is None else _fill(predicted, index, place)
        window.write(place, copied)
    recipe = plan.recipe.model_copy(
        update={
            "input": Input(affinities=VolumeSource(path=window.path), offsets=plan.recipe.input.offsets),
            "model": None,
            "output": Output(chunk=plan.recipe.output.chunk),
            "evaluate": _evaluate(plan, box),
        }
    )
    made = make_plan(recipe, folder / "window")
    for path, volume in made.volumes.items():
        create_volume(path, volume)
    return made


def _affinities(plan: Plan) -> VolumeSource:
    assert plan.places.affinities is not None  # of no plan that starts from another run
    return plan.places.affinities


def _fill(values: npt.NDArray[Any], index: Triple, place: Box) -> npt.NDArray[Any]:
    """The affinities of a block for another one: mirrored at the faces between them, repeated where it is smaller."""
    flipped = values[(slice(None), *(slice(None, None, -1 if i % 2 else 1) for i in index))]
    padding = [(0, max(0, n - m)) for n, m in zip(place.shape, flipped.shape[1:], strict=True)]
    filled = np.pad(flipped, [(0, 0), *padding], mode="symmetric")
    return filled[(slice(None), *Box.of_shape(place.shape).slices())]


def _evaluate(plan: Plan, window: Box) -> Evaluate | None:
    """What is scored, in the window; nothing where the window reaches out of that."""
    config: Any = next((stage.config for stage in plan.stages if stage.task == "contingency"), None)
    if plan.recipe.evaluate is None or not Box(config.start, config.stop).contains(window):
        return None
    offset = triple([o - start for o, start in zip(config.offset, window.start, strict=True)])
    whole = (0, 0, 0), window.shape
    return plan.recipe.evaluate.model_copy(update={"offset": offset, "box": whole})


def run_all(plan: Plan, run: Runner, note: Callable[[str], None]) -> dict[str, dict[Triple, Measured]]:
    """Run every task of a small plan, whose volumes exist: by stage and index."""
    found: dict[str, dict[Triple, Measured]] = {}
    for stage in plan.stages:
        note(f"Measuring {stage.name}, {len(stage)} tasks")
        run(stage, stage.index(0))  # code is loaded
        found[stage.name] = {index: run(stage, index) for index in map(stage.index, range(len(stage)))}
    return found


def work_of(plan: Plan, stage: Stage, index: Triple, found: Mapping[str, Mapping[Triple, Measured]]) -> Work:
    """What a task had to do, with the contacts that it counted."""
    grid, counts = plan.grid, found[stage.name][index].counts
    config: Any = stage.config
    if stage.task == "scores":
        return Workload(grid, growth_of(plan, found)).total(stage)
    if stage.task == "agglomerate":
        inner = inner_faces(grid, config.level, largest=True) if config.level else 0
        return Work(1, 0, counts["given_contacts"] + growth_of(plan, found).across * inner)
    if stage.task == "assign":
        return Work(1, 0, found[f"agglomerate-{config.level}"][index].counts["given_contacts"])
    if stage.task == "faces":
        return Work(1, faces_before(grid, index), counts["face_contacts"])
    voxels = grid.box(index).voxels
    if stage.task == "contingency":
        return Work(1, Box(config.start, config.stop).intersect(grid.box(index)).voxels)
    leaf = "supervoxels", "contacts"
    if stage.task == "relabel":
        leaf = "agglomerate-0", "given_contacts"
    return Work(1, voxels, found[leaf[0]][index].counts[leaf[1]])


def growth_of(plan: Plan, found: Mapping[str, Mapping[Triple, Measured]]) -> Growth:
    """How the contact graph of a small volume grew; what is passed up is that of its blocks."""

    def total(stage: str, count: str) -> int:
        return sum(task.counts[count] for task in found[stage].values())

    voxels, faces = plan.grid.covered.voxels, between(plan.grid, 0, largest=False)
    surface = open_surface(plan.grid, 0)
    return Growth(
        contacts=total("supervoxels", "contacts") / voxels,
        joined=total("agglomerate-0", "given_contacts") / voxels,
        across=total("faces", "face_contacts") / faces if faces else 0.0,
        passed_up=total("agglomerate-0", "residual_contacts") / surface if surface else 0.0,
    )


def _calibration(
    plan: Plan,
    rates: Rates,
    block: Triple,
    window: Plan,
    found: Mapping[str, Mapping[Triple, Measured]],
    on_the_volume: Mapping[str, Measured],
) -> Calibration:
    costs, modelled = {}, {}
    for kind in dict.fromkeys(map(kind_of, window.stages)):
        stages = [stage for stage in window.stages if kind_of(stage) == kind]
        costs[kind] = _mean([task.cost for stage in stages for task in found[stage.name].values()])
        works = [work_of(window, stage, index, found) for stage in stages for index in found[stage.name]]
        modelled[kind] = _mean([rates.cost(kind, work) for work in works])
    voxels = plan.grid.box(block).voxels
    patches = 0 if plan.patches is None else plan.patches.over(plan.grid.volume).computed(plan.grid.box(block))
    for kind, task in on_the_volume.items():
        costs[kind] = task.cost
        work = Work(1, voxels, task.counts.get("contacts", 0), patches, plan.operations * patches)
        modelled[kind] = rates.cost(kind, work)
    growth = growth_of(window, found)
    fragments = sum(task.counts["fragments"] for task in found["supervoxels"].values())
    stated = {kind_of(stage): stage.resources.memory for stage in plan.stages if kind_of(stage) not in UPPER}
    return Calibration(
        made_from=made_from(plan),
        block=block,
        window=window.grid.volume,
        fragments=fragments / math.prod(window.grid.volume),
        **asdict(growth),
        costs=costs,
        factors={kind: _factors(kind, cost, modelled[kind], stated.get(kind, 0)) for kind, cost in costs.items()},
    )


def _mean(costs: Sequence[Cost]) -> Cost:
    """Of some tasks; memory that of the largest."""
    mean = {name: sum(getattr(cost, name) for cost in costs) / len(costs) for name in Cost.model_fields}
    return Cost(**mean | {"memory": max(cost.memory for cost in costs)})


def _factors(kind: str, cost: Cost, modelled: Cost, stated_memory: float) -> Cost:
    """Measured over stated; 1 where there is nothing to divide. The top of the window passes nothing up, so that nodes
    further up write more and hold more: of theirs only the seconds tell anything.
    """
    stated = modelled.model_copy(update={"memory": float(stated_memory)})
    pairs = {name: (getattr(cost, name), getattr(stated, name)) for name in Cost.model_fields}
    ratios = {name: found / expected if found and expected else 1.0 for name, (found, expected) in pairs.items()}
    return Cost(seconds=ratios["seconds"], read=1, written=1, memory=1) if kind in UPPER else Cost(**ratios)


def _find_block(plan: Plan) -> Triple:
    """The block nearest to the middle that holds data, among some that are spread over the volume."""
    source, named = (plan.recipe.input.raw or _affinities(plan)).open(), plan.recipe.input.mask
    mask = None if named is None else named.open()
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
        inside = mask is None or (read_nearest_voxels(mask, source, middle_of_it) != 0).any()
        if inside and (source.read(middle_of_it) != source.spec.fill_value).any():
            return index
    raise RequestError(
        f"A calibration needs a block inside the mask that holds data; {source.path} has none in the middle of"
        f" {len(candidates)} blocks that are spread over it. Plan without --calibrate."
    )


def _scratch(directory: Path) -> contextlib.AbstractContextManager[Path]:
    """A folder on the disk of a run directory."""
    parent = directory.parent
    while not parent.exists():
        parent = parent.parent
    return scratch_folder(parent, f".{directory.name}-calibration-", "Choose another with --run.")


@contextlib.contextmanager
def one_worker(plan: Plan, folder: Path) -> Iterator[Runner]:
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
