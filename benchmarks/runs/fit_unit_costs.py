"""Measures the table that plans without a calibration go by, and writes it (workflows/planning/unit_costs.json).

    python -m benchmarks.runs.fit_unit_costs [--demo DIR] [--out FILE]

Every task of small runs over the demo's affinities, mirrored to more than a worker's cache holds, in two block shapes
and with two thresholds, runs in one worker process. Seconds, bytes read and bytes written of each kind of task are
fitted to its tasks, voxels and contacts, with no negative coefficient. Tasks state their memory; that of a contact in
an octree node is taken from the large nodes of `scale.py`. Prediction is fitted to the operations of the demo's
network. Seconds are those of the processor, so that the table does not depend on what else the machine was doing; what
storage adds, a calibration measures.
"""

from __future__ import annotations

import argparse
import json
import shutil
import time
from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from scipy.optimize import nnls

from petavox.pipeline.geometry import BlockGrid, Triple
from petavox.pipeline.volumes import create_volume
from petavox.tasks.work import AMOUNTS, Growth, OneTask, Work
from petavox.workflows.planning.calibration_run import Found, Measured, growth_of, one_worker, run_all
from petavox.workflows.planning.plan import make_plan
from petavox.workflows.planning.totals import work_of
from petavox.workflows.planning.unit_costs import Cost, Rates, shipped
from petavox.workflows.recipes.segmentation_recipe import load

from ..harness import runs, tiled_affinities
from ..harness.measure import RESULTS, ROOT

BLOCKS: tuple[Triple, ...] = ((32, 128, 128), (32, 256, 256))
SHAPE: Triple = (64, 512, 1024)
HIGHS = (0.98, 0.9999)
TABLE = ROOT / "workflows" / "planning" / "unit_costs.json"
LARGE_NODE = 1_000_000  # contacts, from which on they and not the process decide over a node's memory

Row = tuple[Work, Cost]


def fit(rows: list[Row]) -> dict[str, Cost]:
    """Cost of a unit of each amount: least squares, no negative coefficients, small tasks counting as much as large."""
    names = [name for name in AMOUNTS if any(getattr(work, name) for work, _ in rows)]
    units = np.array([[getattr(work, name) for name in names] for work, _ in rows])
    coefficients = {}
    for quantity in Cost.model_fields:
        values = np.array([getattr(cost, quantity) for _, cost in rows])
        if not values.any() or quantity == "memory":
            continue
        weights = 1 / (values + values.mean())  # what was in a cache reads nothing, and must not count for more
        scale = np.maximum(units.mean(axis=0), 1e-12)
        solution, _ = nnls(units * weights[:, None] / scale, values * weights)
        coefficients[quantity] = solution / scale
    return {
        name: Cost(**{quantity: float(f"{solution[i]:.3g}") for quantity, solution in coefficients.items()})
        for i, name in enumerate(names)
    }


def node_memory(results: Path) -> float:
    """Bytes of a contact in a large octree node, by the last result of `scale.py`."""
    nodes = json.loads((results / "scale.json").read_text(encoding="utf-8"))["node_memory"]
    return max(node["added"] / node["given_contacts"] for node in nodes if node["given_contacts"] >= LARGE_NODE)


def of_processor(task: Measured) -> Cost:
    """The cost of a task with the seconds that its process computed, not those that it took."""
    return task.cost.model_copy(update={"seconds": task.processor_seconds})


def predictions(demo: Path, folder: Path) -> list[Row]:
    """Some blocks of the demo's prediction."""
    recipe = folder / "recipe.toml"
    recipe.parent.mkdir(parents=True, exist_ok=True)
    recipe.write_text(
        f'input.raw = "{demo / "em.zarr"}"\nmodel.checkpoint = "phantom"\nblocks.shape = [32, 192, 192]\n'
    )
    plan = make_plan(load(recipe), folder / "run")
    stage = plan.stages[0]
    for path, spec in plan.volumes.items():
        create_volume(path, spec)
    nothing = Growth(0, 0, 0, 0)
    with one_worker(plan.memory, folder) as run:
        run(stage, (0, 0, 0))
        return [
            (work_of(stage, OneTask(plan.grid, index), nothing), of_processor(run(stage, index)))
            for index in ((1, 1, 0), (1, 1, 1))
        ]


def growth_at(grid: BlockGrid, index: Triple, found: Found, whole: Growth) -> Growth:
    """Measures how the contact graph grew in one block; octree nodes further up are given what blocks passed up."""
    block = OneTask(grid, index)
    faces = block.faces()
    return replace(
        whole,
        contacts=found["supervoxels"][index].counts["contacts"] / block.voxels(),
        joined=found["agglomerate-0"][index].counts["given_contacts"] / block.voxels(),
        across=found["faces"][index].counts["face_contacts"] / faces if faces else 0.0,
    )


def fit_prediction(rows: list[Row]) -> dict[str, Cost]:
    """Seconds go by operations, reading by the voxels of patches, writing by those of blocks."""
    by = {"seconds": "operations", "read": "seen", "written": "voxels"}
    rate = {
        name: sum(getattr(cost, name) for _, cost in rows) / sum(getattr(work, amount) for work, _ in rows)
        for name, amount in by.items()
    }
    return {amount: Cost(**{name: float(f"{rate[name]:.3g}")}) for name, amount in by.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--demo", type=Path, default=Path("demo"), help="the directory that `make demo` made")
    parser.add_argument("--work", type=Path, default=Path("build/bench"), help="folder for scratch")
    parser.add_argument("--out", type=Path, default=TABLE)
    settings = parser.parse_args()
    demo, work = settings.demo.resolve(), settings.work.resolve() / "rates"
    shutil.rmtree(work, ignore_errors=True)
    by_kind: dict[str, list[Row]] = defaultdict(list)
    face_ratios, up_ratios = [], []
    try:
        by_kind["predict"] = predictions(demo, work / "predict")
        for block in BLOCKS:
            for high in HIGHS:
                print(f"blocks of {block}, high {high}", flush=True)
                folder = work / "run"
                shutil.rmtree(folder, ignore_errors=True)
                tiled_affinities.write_tiled(demo / "affinities.zarr", folder / "affinities.zarr", SHAPE, block)
                recipe = runs.write_recipe(folder / "recipe.toml", folder / "affinities.zarr", block, high=high)
                scored = [f'evaluate.truth="{demo / "truth.zarr"}"', "evaluate.offset=[0,0,0]"]
                plan = make_plan(load(recipe, scored), folder / "run")
                for path, spec in plan.volumes.items():
                    create_volume(path, spec)
                with one_worker(plan.memory, folder) as run:
                    found = run_all(plan.stages, run, lambda text: print(f"  {text}", flush=True))
                growth = growth_of(plan.grid, found)
                for stage in plan.stages:
                    a_block = stage.grid == plan.grid.shape
                    by_kind[shipped().kind_of(stage)] += [
                        (
                            work_of(
                                stage,
                                OneTask(plan.grid, index),
                                growth_at(plan.grid, index, found, growth) if a_block else growth,
                            ),
                            of_processor(task),
                        )
                        for index, task in found[stage.name].items()
                    ]
                face_ratios.append(growth.across / plan.density.crossing)
                up_ratios.append(growth.passed_up / plan.density.crossing)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    costs = {kind: fit_prediction(rows) if kind == "predict" else fit(rows) for kind, rows in by_kind.items()}
    of_a_contact = costs["agglomerate"]["contacts"].model_copy(update={"memory": round(node_memory(RESULTS))})
    costs["agglomerate"] |= {"contacts": of_a_contact}
    print("over the sampled contacts through a plane: across", face_ratios, "passed up", up_ratios)
    table = Rates(
        measured=f"{time.strftime('%Y-%m-%d')}, {_cpu()}, {sum(map(len, by_kind.values()))} tasks of the demo",
        costs=costs,
        across=float(f"{np.mean(face_ratios):.3g}"),
        passed_up=float(f"{np.mean(up_ratios):.3g}"),
    )
    settings.out.write_text(table.model_dump_json(indent=1, exclude_defaults=True) + "\n", encoding="utf-8")
    print(settings.out)


def _cpu() -> Any:
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    return next((line.partition(":")[2].strip() for line in lines if "model name" in line), "unknown CPU")


if __name__ == "__main__":
    main()
