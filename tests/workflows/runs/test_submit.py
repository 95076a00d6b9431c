"""A run whose driver is a job: it is killed and goes on, it is cancelled, and nothing of it stays behind."""

from __future__ import annotations

import time

import numpy as np
import pytest

from petavox import segment
from petavox.cluster.batch.folder import known_id
from petavox.cluster.batch.scripts import job_name
from petavox.cluster.batch.slurm import Slurm
from petavox.pipeline.errors import RequestError
from petavox.pipeline.geometry import Box
from petavox.pipeline.volumes import VolumeSpec, create_volume, open_volume
from petavox.workflows.planning.plan import make_plan
from petavox.workflows.recipes.segmentation_recipe import load
from petavox.workflows.runs.submit import cancel, scripts, submit

SHAPE = (10, 40, 36)
NEAREST = ((1, 0, 0), (0, 1, 0), (0, 0, 1))
RECIPE = """
input.affinities = "affinities.zarr"
blocks.shape = [5, 20, 36]
agglomeration.threshold = 0.6
[cluster]
kind = "slurm"
pools.cpu = {partition = "cpu", memory = "1GB", walltime = "1h", maximum = 2}
pools.driver = {memory = "1GB", walltime = "1h"}
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder with affinities and a recipe."""
    folder = tmp_path_factory.mktemp("made")
    affinities = np.random.default_rng(7).integers(0, 256, (3, *SHAPE)).astype(np.uint8)
    spec = VolumeSpec(SHAPE, "uint8", (30, 6, 6), channels=3, offsets=NEAREST, chunk=SHAPE)
    create_volume(folder / "affinities.zarr", spec).write(Box.of_shape(SHAPE), affinities)
    (folder / "recipe.toml").write_text(RECIPE)
    return folder, affinities


def recipe(made, *overrides):
    return load(made[0] / "recipe.toml", overrides)


def jobs_of(run):
    known = known_id(run)
    return [] if known is None else Slurm().jobs(job_name(known, part) for part in ("driver", "cpu", "gpu"))


def until(condition, seconds=120):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "too late"
        time.sleep(0.2)


def log(run):
    file = run / "cluster" / "logs" / "driver.txt"
    return file.read_text() if file.exists() else ""


@pytest.mark.slurm
def test_a_submitted_run_survives_the_end_of_its_driver_and_leaves_no_job(made, tmp_path, slurm_environment):
    run = tmp_path / "run"
    job = submit(recipe(made), run)
    with pytest.raises(RequestError, match=f"Job {job} drives this run already"):
        submit(recipe(made), run)
    until(lambda: "dashboard" in log(run))
    Slurm().cancel([job])
    until(lambda: not jobs_of(run))
    assert "goes on" in log(run)
    assert "Done" in log(run)
    segmentation = open_volume(run / "segmentation.zarr").read(Box.of_shape(SHAPE))
    assert np.array_equal(segmentation, segment(made[1], threshold="0.6"))


@pytest.mark.slurm
def test_cancelling_a_run_ends_its_driver_its_successor_and_its_workers(made, tmp_path, slurm_environment):
    run = tmp_path / "run"
    submit(recipe(made, "cluster.pools.cpu.minimum=2"), run)
    until(lambda: {job.name.rpartition("-")[2] for job in jobs_of(run)} == {"driver", "cpu"})
    assert cancel(run) >= 3
    assert jobs_of(run) == []


@pytest.mark.slurm
def test_a_wrong_request_ends_a_driver_and_its_successor(made, tmp_path, slurm_environment):
    run = tmp_path / "run"
    submit(recipe(made, "cluster.pools.cpu.partition=nowhere", "cluster.pools.driver.partition=cpu"), run)
    until(lambda: "invalid partition" in log(run))
    until(lambda: not jobs_of(run))


def test_scripts_are_those_of_the_driver_and_of_the_pools_that_have_work(made, tmp_path):
    shown = list(scripts(make_plan(recipe(made), tmp_path / "run")))
    assert [text.splitlines()[2].rpartition("-")[2] for text in shown] == ["driver", "cpu"]
    assert all("#SBATCH --partition=cpu" in text for text in shown), "the driver's is that of the workers"
    assert not (tmp_path / "run").exists(), "a plan writes nothing"


def test_only_runs_on_slurm_have_jobs(made, tmp_path):
    local = recipe(made, "cluster.kind=local")
    with pytest.raises(RequestError, match=r"cluster\.kind is 'local'"):
        submit(local, tmp_path / "run")
    with pytest.raises(RequestError, match=r"cluster\.kind is 'local'"):
        list(scripts(make_plan(local, tmp_path / "run")))
    with pytest.raises(RequestError, match="has no jobs"):
        cancel(tmp_path)


def test_without_slurm_nothing_is_submitted(made, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", "")
    with pytest.raises(RequestError, match="sbatch, squeue, scancel cannot be found"):
        submit(recipe(made), tmp_path / "run")
    assert not (tmp_path / "run").exists()
