"""Calibrations: one block of each stage is run for real, the run is left alone, and estimates go by what was found."""

import hashlib
import json

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from petavox.cluster.serial import Serial
from petavox.pipeline.affinities.checkpoint import CheckpointConfig
from petavox.pipeline.affinities.unet import NetworkConfig, ResidualSymmetricUNet
from petavox.pipeline.errors import RequestError
from petavox.pipeline.geometry import Box
from petavox.pipeline.networks.checkpoint import save_checkpoint
from petavox.pipeline.volumes import VolumeSpec, create_volume, default_chunks
from petavox.workflows.cli import app
from petavox.workflows.planning import calibration as stored
from petavox.workflows.planning import calibration_run as calibrating
from petavox.workflows.planning.calibration_run import calibrate
from petavox.workflows.planning.plan import make_plan
from petavox.workflows.planning.totals import estimate
from petavox.workflows.planning.unit_costs import shipped
from petavox.workflows.recipes.segmentation_recipe import load
from petavox.workflows.runs.run import run

SHAPE = (8, 48, 40)
BLOCK = (8, 16, 16)
NEAREST = ((1, 0, 0), (0, 1, 0), (0, 0, 1))
RATES = shipped()


class Silent:
    """A progress that says nothing."""

    def __getattr__(self, name):
        return lambda *arguments, **options: None


@pytest.fixture(autouse=True)
def in_this_process(monkeypatch):
    """Workers take seconds to start; one test starts one."""
    monkeypatch.setattr(calibrating.cluster, "start", lambda place, function: Serial(function))


def make_volume(path, array, **spec):
    channels = {"channels": len(array), "offsets": NEAREST} if array.ndim == 4 else {}
    chunk, shard = default_chunks(BLOCK, array.shape[-3:])
    described = {"voxel_size": (30.0, 6.0, 6.0), "chunk": chunk, "shard": shard, **channels, **spec}
    volume = create_volume(path, VolumeSpec(array.shape[-3:], str(array.dtype), **described))
    volume.write(Box.of_shape(volume.spec.shape), array)


@pytest.fixture
def folder(tmp_path):
    """A recipe from affinities to scores."""
    random = np.random.default_rng(3)
    make_volume(tmp_path / "affinities.zarr", random.integers(0, 256, (3, *SHAPE)).astype(np.uint8))
    make_volume(tmp_path / "truth.zarr", random.integers(0, 3, SHAPE).astype(np.uint64))
    (tmp_path / "recipe.toml").write_text(
        """
        input.affinities = "affinities.zarr"
        blocks.shape = [8, 16, 16]
        evaluate.truth = "truth.zarr"
        cluster.kind = "serial"
        cluster.memory = "4GB"
        """
    )
    return tmp_path


def planned(folder, *overrides):
    return make_plan(load(folder / "recipe.toml", overrides), folder / "run")


def calibrated(plan):
    return calibrate(plan, RATES, lambda text: None)


def contents(folder):
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    return {path: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_nothing_changes_beside_or_in_the_run_whether_it_exists_or_not(folder):
    before = contents(folder)
    calibrated(planned(folder))
    assert contents(folder) == before
    run(load(folder / "recipe.toml"), folder / "run", Silent())
    before = contents(folder)
    calibrated(planned(folder))
    assert contents(folder) == before
    assert sorted(path.name for path in folder.iterdir() if path.name.startswith(".")) == []


def test_block_stages_are_measured_and_the_octree_is_extrapolated(folder):
    plan = planned(folder)
    found = calibrated(plan)
    assert found.block == (0, 1, 1)
    costs = estimate(plan, RATES, found)
    basis = {stage.name: stage.basis for stage in costs.stages}
    measured = {name for name, how in basis.items() if how == "measured"}
    assert measured == {"supervoxels", "faces", "agglomerate-0", "relabel", "contingency"}
    assert {basis[name] for name in basis.keys() - measured} == {"extrapolated"}
    assert all(stage.basis == "table" for stage in estimate(plan, RATES).stages)
    assert found.contacts > found.fragments > 0
    assert found.passed_up > 0


def test_of_a_volume_of_one_block_the_estimate_is_what_was_measured(folder):
    plan = planned(folder, "blocks.shape=[8, 48, 40]")
    found = calibrated(plan)
    for stage in estimate(plan, RATES, found).stages:
        if stage.basis == "measured" and stage.name not in ("faces", "agglomerate-0"):
            cost = found.costs[stage.name]
            assert stage.seconds == pytest.approx(cost.seconds)
            assert stage.longest == pytest.approx(cost.seconds)
            assert stage.written == pytest.approx(cost.written)


def test_bytes_come_within_a_half_of_what_the_run_writes(folder):
    random = np.random.default_rng(5)
    make_volume(folder / "larger.zarr", random.integers(0, 256, (3, 16, 96, 96)).astype(np.uint8))
    (folder / "recipe.toml").write_text(
        'input.affinities = "larger.zarr"\nblocks.shape = [16, 32, 32]\ncluster.kind = "serial"'
    )
    plan = planned(folder)
    costs = {stage.name: stage for stage in estimate(plan, RATES, calibrated(plan)).stages}
    run(load(folder / "recipe.toml"), folder / "run", Silent())
    for name, places in {
        "supervoxels": ("tables/supervoxels", "supervoxels.zarr"),
        "faces": ("tables/faces",),
        "agglomerate-0": ("tables/agglomerate-0",),
    }.items():
        files = [file for place in places for file in (folder / "run" / place).rglob("*") if file.is_file()]
        assert costs[name].written == pytest.approx(sum(file.stat().st_size for file in files), rel=0.5), (
            name
        )  # most blocks of so few have fewer faces


def test_the_block_is_the_one_nearest_to_the_middle_that_holds_data(folder):
    affinities = np.zeros((3, *SHAPE), np.uint8)
    affinities[:, :, 40:, 20:] = 200
    make_volume(folder / "corner.zarr", affinities)
    found = calibrated(planned(folder, "input.affinities=corner.zarr"))
    assert found.block == (0, 2, 1)


def test_a_volume_without_data_is_refused(folder):
    make_volume(folder / "empty.zarr", np.zeros((3, *SHAPE), np.uint8))
    with pytest.raises(RequestError, match=r"holds data; .*empty\.zarr has none .*without --calibrate"):
        calibrated(planned(folder, "input.affinities=empty.zarr"))


def test_from_raw_data_one_block_is_predicted(folder):
    torch.manual_seed(0)
    network = NetworkConfig(widths=(2, 3), stride=(1, 2, 2), offsets=NEAREST)
    config = CheckpointConfig(network=network, patch=(4, 8, 8), voxel_size=(30.0, 6.0, 6.0))
    save_checkpoint(folder / "network", config, ResidualSymmetricUNet(network).state_dict())
    make_volume(folder / "raw.zarr", np.random.default_rng(0).integers(1, 255, SHAPE).astype(np.uint8))
    (folder / "recipe.toml").write_text(
        'input.raw = "raw.zarr"\nmodel.checkpoint = "network"\nblocks.shape = [8, 16, 16]\ncluster.memory = "4GB"'
    )
    plan = planned(folder)
    found = calibrated(plan)
    assert found.costs.keys() == {stage.name.replace("-1", "") for stage in plan.stages if stage.name[-1] != "2"}
    costs = estimate(plan, RATES, found)
    assert costs.stages[0].longest == pytest.approx(found.costs["predict"].seconds)
    assert not any("densest graph known" in note for note in costs.notes)


def test_blocks_that_are_not_scored_leave_scoring_to_extrapolation(folder):
    plan = planned(folder, "evaluate.box=[[0, 0, 0], [8, 8, 8]]")
    found = calibrated(plan)
    assert "contingency" not in found.costs
    basis = {stage.name: stage.basis for stage in estimate(plan, RATES, found).stages}
    assert basis["contingency"] == "extrapolated"


def test_another_segmentation_of_a_finished_run_has_nothing_to_calibrate(folder):
    run(load(folder / "recipe.toml"), folder / "run", Silent())
    (folder / "recipe.toml").write_text('input.run = "run"\nblocks.shape = [8, 16, 16]\nagglomeration.threshold = 0.3')
    plan = make_plan(load(folder / "recipe.toml"), folder / "run" / "cut")
    with pytest.raises(RequestError, match=r"starts from the supervoxels of .* Plan without --calibrate"):
        calibrated(plan)


def test_a_failing_block_names_the_stage(folder):
    affinities = np.full((3, *SHAPE), 0.5, np.float32)
    affinities[1] = np.nan
    make_volume(folder / "nan.zarr", affinities)
    with pytest.raises(RequestError, match=r"Calibrating supervoxels on block .* NaN"):
        calibrated(planned(folder, "input.affinities=nan.zarr"))


def test_a_calibration_is_kept_in_a_file_and_says_what_has_changed_since(folder):
    plan = planned(folder)
    found = calibrated(plan)
    found.write(folder / "found.json")
    again = stored.read(folder / "found.json")
    assert again == found
    assert estimate(plan, RATES, again) == estimate(plan, RATES, found)
    other = planned(folder, "supervoxels.high=0.9")
    assert any("supervoxels.high was 0.9999, is 0.9" in note for note in estimate(other, RATES, again).notes)


@pytest.mark.parametrize("text", ["", "{}", "[1]", '{"block": [1, 2]}'])
def test_what_is_no_calibration_is_refused_with_the_cure(tmp_path, text):
    (tmp_path / "found.json").write_text(text)
    with pytest.raises(RequestError, match=r"not a calibration of this version.*--calibrate"):
        stored.read(tmp_path / "found.json")
    with pytest.raises(RequestError, match="cannot be read"):
        stored.read(tmp_path / "nowhere.json")


def test_a_worker_process_measures_as_well(folder, monkeypatch):
    monkeypatch.undo()
    found = calibrated(planned(folder))
    assert found.costs["supervoxels"].seconds > 0
    assert found.costs["supervoxels"].written > 0


def test_the_command_measures_keeps_and_takes_up_again(folder):
    def petavox_plan(*options):
        arguments = ["plan", str(folder / "recipe.toml"), "--run", str(folder / "run"), "--json", *options]
        return json.loads(CliRunner().invoke(app, arguments, catch_exceptions=False).stdout)

    kept = ["--calibration", str(folder / "found.json")]
    measured = petavox_plan("--calibrate", *kept)
    assert (folder / "found.json").exists()
    assert not (folder / "run").exists()
    assert petavox_plan(*kept)["stages"] == measured["stages"]
    assert petavox_plan()["stages"] != measured["stages"]
