"""Runs blocks of the plan's own data through every stage, for what they take; everything written is removed.

1. The block nearest to the middle of the volume that holds data is predicted, if the run starts from raw data, and its
   supervoxels are made: from the volume itself, as a run would (`_on_the_volume`).
2. A window of up to 2 × 2 × 2 blocks, that block and those before it, becomes a volume of its own: copied out of the
   affinities, or mirror images of what was predicted (`_copy`). All stages run on it, from supervoxels to scores, so
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
from ...pipeline.volumes import Volume, VolumeSource, create_volume, default_chunks, read_nearest_voxels
from ...tasks.work import AllTasks, Growth, OneTask
from ..execution import attempt
from ..execution.attempt import CallReport
from ..recipes.segmentation_recipe import Evaluate, Input, Output, Recipe
from ..run_directory.scratch import scratch_folder
from ..stages.places import Places
from ..stages.stage import Stage
from .calibration import LEAF, Calibration, exceeds_blocks, settings_that_count
from .plan import WORKER_BYTES, Plan, make_plan
from .totals import work_of
from .unit_costs import Cost, Rates

_LOOK: Triple = (16, 64, 64)  # voxels in the middle of a block that are looked at for data
_WAIT = 1.0
_LOADING = 20.0  # seconds beside which the loading of code does not matter


@dataclass(frozen=True)
class Measured:
    """Holds the measurements of one task.

    They are its cost, with the memory that it added to its worker; the seconds that its process computed; its counts.
    """

    cost: Cost
    processor_seconds: float
    counts: Mapping[str, int]


Runner = Callable[[Stage, Triple], Measured]
Found = Mapping[str, Mapping[Triple, Measured]]  # by the stage's name and the task's index


def measure(task: str, config: str, index: Triple) -> tuple[CallReport, float, int, int]:
    """Run a task in a worker; with the seconds that its process computed, and the bytes that it read and wrote."""
    before = _counters()
    report = attempt.perform(task, config, [index], attempt.Terms(seconds=0.0))
    seconds, read, written = (after - start for after, start in zip(_counters(), before, strict=True))
    return report, seconds, int(read), int(written)


def _counters() -> tuple[float, int, int]:
    """Reads the counters of this process: seconds of all threads, bytes read and written, 0 where nobody counts."""
    seconds = time.process_time()
    try:
        moved = psutil.Process().io_counters()
        return seconds, moved.read_chars, moved.write_chars
    except AttributeError:
        return seconds, 0, 0


def calibrate(plan: Plan, rates: Rates, note: Callable[[str], None]) -> Calibration:
    """Measure a plan's stages on some of its blocks.

    Args:
        plan: plan of the run, which may exist and be at work; nothing in it changes.
        rates: the table that the measured costs are set against.
        note: is told what is being run.

    Raises:
        RequestError: there are no affinities or raw data, or no block that was looked at holds data.
        StorageError: there is no room for the blocks, or a folder cannot be written.
        TaskError: a stage failed on a block.
    """
    recipe, grid = plan.recipe, plan.grid
    if recipe.input.run is not None:
        raise RequestError(
            "A calibration runs all stages from affinities or raw data on; this run starts from the supervoxels of"
            f" {recipe.input.run}. Plan without --calibrate."
        )
    mask = None if recipe.input.mask is None else recipe.input.mask.open()
    block = _find_block((recipe.input.raw or _affinities(plan.places)).open(), grid, mask)
    with _scratch(plan.directory) as folder, one_worker(plan.memory, folder) as run:
        source = _on_the_volume(recipe, block, folder / "volume", run, note)
        around, mirrored = _window(grid, block), recipe.input.raw is not None
        affinities = _copy(source.affinities, grid, block, around, folder, mirrored=mirrored)
        scored = _scored(recipe.evaluate, plan.stages, around)
        window = make_plan(_window_recipe(recipe, affinities, scored), folder / "window")
        for path, spec in window.volumes.items():
            create_volume(path, spec)
        found = run_all(window.stages, run, note)
    growth = growth_of(window.grid, found)
    costs, modelled = _costs(window.stages, window.grid, found, growth, rates)
    for stage, task in source.measured:
        kind = rates.kind_of(stage)
        counted = replace(growth, contacts=task.counts.get("contacts", 0) / grid.box(block).voxels)
        costs[kind], modelled[kind] = task.cost, rates.cost(kind, work_of(stage, OneTask(grid, block), counted))
    stated = {rates.kind_of(stage): stage.resources.memory for stage in plan.stages if not exceeds_blocks(stage, grid)}
    fragments = sum(task.counts["fragments"] for task in found["supervoxels"].values())
    return Calibration(
        made_from=settings_that_count(recipe),
        block=block,
        window=window.grid.volume,
        fragments=fragments / math.prod(window.grid.volume),
        **asdict(growth),
        costs=costs,
        factors={kind: _factors(cost, modelled[kind], stated.get(kind)) for kind, cost in costs.items()},
    )


@dataclass(frozen=True)
class _Source:
    """Holds the measurements of tasks on the grid of the volume itself, and the affinities there."""

    affinities: Volume
    measured: Sequence[tuple[Stage, Measured]]


def _on_the_volume(recipe: Recipe, block: Triple, directory: Path, run: Runner, note: Callable[[str], None]) -> _Source:
    """Runs every stage up to the supervoxels on one block.

    A stage is run twice, since code is loaded the first time, unless it takes so long that loading does not matter.
    """
    output = Output(chunk=recipe.output.chunk)
    plan = make_plan(recipe.model_copy(update={"output": output, "evaluate": None}), directory)
    for path, spec in plan.volumes.items():
        create_volume(path, spec)
    measured = []
    supervoxels = next(number for number, stage in enumerate(plan.stages) if stage.task == "supervoxels")
    for stage in plan.stages[: supervoxels + 1]:
        note(f"Measuring {stage.name} on block {list(block)}")
        found = run(stage, block)
        measured.append((stage, found if found.cost.seconds > _LOADING else run(stage, block)))
    return _Source(_affinities(plan.places).open(), measured)


def _window(grid: BlockGrid, block: Triple) -> Box:
    """Returns the box of up to 2 × 2 × 2 blocks that a block and those before it cover."""
    before = triple([max(0, i - 1) for i in block])
    last = triple([min(i + 1, n - 1) for i, n in zip(before, grid.shape, strict=True)])
    return Box(grid.box(before).start, grid.box(last).stop)


def _copy(affinities: Volume, grid: BlockGrid, block: Triple, window: Box, folder: Path, *, mirrored: bool) -> str:
    """Copies the affinities of a window into a volume of its own; or fills it with mirror images of one block."""
    chunk, shard = default_chunks(grid.block, window.shape)
    spec = replace(affinities.spec, shape=window.shape, translation=(0, 0, 0), chunk=chunk, shard=shard)
    copy = create_volume(folder / "affinities.zarr", spec)
    blocks = BlockGrid(window.shape, grid.block)
    values = affinities.read(grid.box(block)) if mirrored else None
    for index in blocks.indices():
        box = blocks.box(index)
        copy.write(box, affinities.read(box.shift(window.start)) if values is None else _fill(values, index, box))
    return copy.path


def _window_recipe(recipe: Recipe, affinities: str, evaluate: Evaluate | None) -> Recipe:
    """Returns the recipe of a run over the window as a volume of its own, with affinities in place."""
    return recipe.model_copy(
        update={
            "input": Input(affinities=VolumeSource(path=affinities), offsets=recipe.input.offsets),
            "model": None,
            "output": Output(chunk=recipe.output.chunk),
            "evaluate": evaluate,
        }
    )


def _affinities(places: Places) -> VolumeSource:
    assert places.affinities is not None  # of no plan that starts from another run
    return places.affinities


def _fill(values: npt.NDArray[Any], index: Triple, place: Box) -> npt.NDArray[Any]:
    """The affinities of a block for another one: mirrored at the faces between them, repeated where it is smaller."""
    flipped = values[(slice(None), *(slice(None, None, -1 if i % 2 else 1) for i in index))]
    padding = [(0, max(0, n - m)) for n, m in zip(place.shape, flipped.shape[1:], strict=True)]
    filled = np.pad(flipped, [(0, 0), *padding], mode="symmetric")
    return filled[(slice(None), *Box.of_shape(place.shape).slices())]


def _scored(evaluate: Evaluate | None, stages: Sequence[Stage], window: Box) -> Evaluate | None:
    """Returns the part of the scored box inside the window; nothing where the window reaches out of it."""
    config: Any = next((stage.config for stage in stages if stage.task == "contingency"), None)
    if evaluate is None or not Box(config.start, config.stop).contains(window):
        return None
    offset = triple([o - start for o, start in zip(config.offset, window.start, strict=True)])
    whole = (0, 0, 0), window.shape
    return evaluate.model_copy(update={"offset": offset, "box": whole})


def run_all(stages: Sequence[Stage], run: Runner, note: Callable[[str], None]) -> dict[str, dict[Triple, Measured]]:
    """Runs every task of a few stages, whose volumes exist; returns measurements by stage and index."""
    found: dict[str, dict[Triple, Measured]] = {}
    for stage in stages:
        note(f"Measuring {stage.name}, {len(stage)} tasks")
        run(stage, stage.index(0))  # code is loaded
        found[stage.name] = {index: run(stage, index) for index in map(stage.index, range(len(stage)))}
    return found


def growth_of(grid: BlockGrid, found: Found) -> Growth:
    """Measures how the contact graph of a small volume grew; what is passed up is that of its blocks."""

    def total(stage: str, count: str) -> int:
        return sum(task.counts[count] for task in found[stage].values())

    whole = AllTasks(grid)
    voxels, faces, surface = whole.voxels(), whole.faces(), whole.open_surface()
    return Growth(
        contacts=total("supervoxels", "contacts") / voxels,
        joined=total(LEAF, "given_contacts") / voxels,
        across=total("faces", "face_contacts") / faces if faces else 0.0,
        passed_up=total(LEAF, "residual_contacts") / surface if surface else 0.0,
    )


def _costs(
    stages: Sequence[Stage], grid: BlockGrid, found: Found, growth: Growth, rates: Rates
) -> tuple[dict[str, Cost], dict[str, Cost]]:
    """Averages, for each kind of stage, the measured cost of a task, and the cost that the table states for it."""
    costs, modelled = {}, {}
    for kind in dict.fromkeys(map(rates.kind_of, stages)):
        alike = [stage for stage in stages if rates.kind_of(stage) == kind]
        tasks = [task.cost for stage in alike for task in found[stage.name].values()]
        stated = [rates.cost(kind, work_of(stage, AllTasks(grid), growth)) for stage in alike]
        costs[kind], modelled[kind] = _mean(tasks, len(tasks)), _mean(stated, len(tasks))
    return costs, modelled


def _mean(costs: Sequence[Cost], tasks: int) -> Cost:
    """Shares the sum of costs between tasks; the memory is the largest."""
    mean = {name: sum(getattr(cost, name) for cost in costs) / tasks for name in Cost.model_fields}
    return Cost(**mean | {"memory": max(cost.memory for cost in costs)})


def _factors(cost: Cost, modelled: Cost, stated_memory: int | None) -> Cost:
    """Divides measured by stated costs; a factor is 1 where there is nothing to divide.

    Tasks that cover more than a block have no stated memory here, and only their seconds tell anything: the top of the
    window passes nothing up, so that nodes further up write more and hold more.
    """
    stated = modelled.model_copy(update={"memory": float(stated_memory or 0)})
    pairs = {name: (getattr(cost, name), getattr(stated, name)) for name in Cost.model_fields}
    ratios = {name: found / expected if found and expected else 1.0 for name, (found, expected) in pairs.items()}
    return Cost(seconds=ratios["seconds"], read=1, written=1, memory=1) if stated_memory is None else Cost(**ratios)


def _find_block(source: Volume, grid: BlockGrid, mask: Volume | None) -> Triple:
    """The block nearest to the middle that holds data, among some that are spread over the volume."""
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
def one_worker(memory: int, folder: Path) -> Iterator[Runner]:
    """Starts a worker process on this machine, with so many bytes, that runs one task of a stage at a time."""
    executor = cluster.start(cluster.ClusterSpec("local", {"cpu": cluster.PoolSpec(1, memory)}, folder), measure)

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
    """Returns the measurements of a call, or raises its error.

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
