"""Estimates: their parts add up, they grow with the volume, no volume makes them slow, and files come out as stated."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from fakes.planned import plan_of
from fakes.shuffled import Silent
from hypothesis import given, settings
from hypothesis import strategies as st

from petavox import tasks
from petavox.pipeline.errors import RequestError
from petavox.pipeline.geometry import Box
from petavox.pipeline.volumes import VolumeSpec, create_volume, default_chunks
from petavox.tasks.contract import Density
from petavox.workflows.planning import refusals
from petavox.workflows.planning.plan import make_plan
from petavox.workflows.planning.totals import estimate
from petavox.workflows.planning.unit_costs import shipped
from petavox.workflows.recipes.segmentation_recipe import load
from petavox.workflows.runs.run import run

NEAREST = ((1, 0, 0), (0, 1, 0), (0, 0, 1))
RATES = shipped()
SIDES = st.tuples(*[st.integers(1, 5000)] * 3)
BLOCKS = st.tuples(*[st.integers(8, 600)] * 3)
AMOUNTS = ("tasks", "seconds", "read", "written")


def costs_of(volume, block, **settings):
    return estimate(plan_of(volume, block, **settings), RATES)


def test_measured_costs_are_those_of_tasks_that_there_are():
    assert {kind.partition("-")[0] for kind in RATES.costs} <= set(tasks.TASKS)
    for costs in RATES.costs.values():
        assert sum(cost.seconds for cost in costs.values()) > 0


@given(SIDES, BLOCKS)
@settings(max_examples=40)
def test_totals_are_the_sums_of_the_parts(volume, block):
    costs = costs_of(volume, block)
    for name in AMOUNTS:
        assert getattr(costs, name) == pytest.approx(sum(getattr(stage, name) for stage in costs.stages))
    assert costs.hours == pytest.approx(sum(stage.hours for stage in costs.stages))
    assert costs.written < costs.disk <= costs.peak_disk
    for stage in costs.stages:
        assert (
            stage.longest <= stage.seconds * 8 + 1e-9
        )  # the largest of a few nodes may be taken for larger than it is
        assert stage.tasks >= 1


@given(SIDES, SIDES, BLOCKS)
@settings(max_examples=40)
def test_a_larger_volume_costs_no_less(one, other, block):
    larger = tuple(map(max, one, other))
    smaller_costs, larger_costs = costs_of(one, block), costs_of(larger, block)
    for name in (*AMOUNTS, "hours", "disk"):
        assert getattr(smaller_costs, name) <= getattr(larger_costs, name) * (1 + 1e-9)
    assert max(s.memory for s in smaller_costs.stages) <= max(s.memory for s in larger_costs.stages)


@given(SIDES, BLOCKS, st.integers(1, 10_000))
@settings(max_examples=20)
def test_more_workers_shorten_a_run_down_to_its_longest_tasks(volume, block, workers):
    one, many = costs_of(volume, block, workers=1), costs_of(volume, block, workers=workers)
    assert many.seconds == pytest.approx(one.seconds)
    assert one.hours / workers * (1 - 1e-9) <= many.hours <= one.hours * (1 + 1e-9)
    assert many.hours * 3600 >= max(stage.longest for stage in many.stages)


def test_denser_supervoxels_cost_more():
    thin, dense = (
        costs_of((512, 4096, 4096), (64, 512, 512), density=Density(f, 5 * f, f / 5, f, f / 5)) for f in (0.01, 0.1)
    )
    for name in ("seconds", "read", "written"):
        assert getattr(thin, name) < getattr(dense, name)


def test_a_top_node_with_too_little_memory_or_too_many_contacts_is_refused_with_the_cure():
    plan = plan_of((100_000,) * 3, (64, 512, 512), memory=10**15, density=Density(0.1, 0.46, 0.05, 0.2, 0.5))
    found = refusals.refusals(plan, estimate(plan, RATES), new=False)
    assert len(found) == 1
    assert "1,073,741,824 contacts" in found[0]
    assert "join_size" in found[0]
    small = replace(plan, memory=8 * 10**9)
    assert any("top of the octree" in line for line in refusals.refusals(small, estimate(small, RATES), new=False))


def test_only_a_new_run_needs_its_disk(tmp_path, monkeypatch):
    plan = plan_of((1000,) * 3, (64, 512, 512), directory=tmp_path / "run")
    monkeypatch.setattr(refusals.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 10}))
    refusals.check(plan, new=False)
    with pytest.raises(RequestError, match=r"at least .* of disk; .* has 10 B free"):
        refusals.check(plan, new=True)


def folder_bytes(path):
    return sum((Path(folder) / name).stat().st_size for folder, _, names in os.walk(path) for name in names)


def test_a_small_run_writes_what_was_stated_of_noise_within_a_factor_of_four(tmp_path):
    affinities = np.random.default_rng(1).integers(0, 256, (3, 32, 128, 128)).astype(np.uint8)
    chunk, shard = default_chunks((16, 64, 64), affinities.shape[1:])
    spec = VolumeSpec(affinities.shape[1:], "uint8", (30, 6, 6), channels=3, offsets=NEAREST, chunk=chunk, shard=shard)
    create_volume(tmp_path / "affinities.zarr", spec).write(spec.box, affinities)
    recipe = tmp_path / "recipe.toml"
    recipe.write_text('input.affinities = "affinities.zarr"\nblocks.shape = [16, 64, 64]\ncluster.kind = "serial"')
    costs = estimate(make_plan(load(recipe), tmp_path / "run"), RATES)
    run(load(recipe), tmp_path / "run", Silent())
    stages = {stage.name: stage.written for stage in costs.stages}
    for name, folders in {
        "supervoxels": ("tables/supervoxels", "supervoxels.zarr"),
        "agglomerate-0": ("tables/agglomerate-0",),
    }.items():
        written = sum(folder_bytes(tmp_path / "run" / folder) for folder in folders)
        assert written / 4 < stages[name] < written * 4, name
    assert costs.disk == pytest.approx(folder_bytes(tmp_path / "run"), rel=1)


PLAN = """
import json, sys
from petavox.workflows.cli import app
try:
    app(["plan", *sys.argv[1:], "--json"])
except SystemExit as end:
    status = open("/proc/self/status").read()  # of this process alone, unlike its resource usage
    print(json.dumps({"status": end.code, "peak": int(status.split("VmHWM:")[1].split()[0]) * 1024}))
"""


def test_a_petavoxel_is_planned_in_500_mb_and_an_empty_sample_is_said_to_be_one(tmp_path):
    shape = (100_000, 100_000, 100_000)
    chunk, shard = default_chunks((64, 512, 512), shape)
    spec = VolumeSpec(shape, "uint8", (30, 6, 6), channels=3, offsets=NEAREST, chunk=chunk, shard=shard)
    create_volume(tmp_path / "affinities.zarr", spec)
    recipe = tmp_path / "recipe.toml"
    recipe.write_text('input.affinities = "affinities.zarr"\ncluster.memory = "64GB"\ncluster.workers = 1000')
    command = [sys.executable, "-P", "-c", PLAN, str(recipe), "--run", str(tmp_path / "run")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    lines = done.stdout.splitlines()
    end, plan = json.loads(lines[-1]), json.loads("\n".join(lines[:-1]))
    assert end["peak"] < 500e6
    assert plan["blocks"] > 50_000_000
    assert end["status"] == 2
    assert any("of disk" in line for line in plan["refusals"])
    assert any("Nothing lies at the three places" in line for line in plan["notes"])
    assert not (tmp_path / "run").exists()


def test_a_place_on_another_disk_counts_there(tmp_path):
    spec = VolumeSpec((8, 16, 16), "uint8", (30, 6, 6), channels=3, offsets=NEAREST, chunk=(8, 16, 16))
    create_volume(tmp_path / "affinities.zarr", spec).write(Box.of_shape(spec.shape), np.full((3, 8, 16, 16), 9, "u1"))
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(f'input.affinities = "affinities.zarr"\noutput.segmentation = "{tmp_path / "far" / "s.zarr"}"')
    costs = estimate(make_plan(load(recipe), tmp_path / "run"), RATES)
    relabel = next(stage for stage in costs.stages if stage.name == "relabel")
    assert costs.disks[str(tmp_path / "far")] == relabel.written
    assert costs.disk == pytest.approx(sum(costs.disks.values()))
