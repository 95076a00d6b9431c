"""Plans: what a recipe comes to, from raw data and from affinities, and what is refused before anything is written."""

from __future__ import annotations

import contextlib
import json

import numpy as np
import pytest
import torch
from fakes.shuffled import Silent

from petavox.pipeline.affinities.checkpoint import CheckpointConfig
from petavox.pipeline.affinities.unet import NetworkConfig, ResidualSymmetricUNet
from petavox.pipeline.errors import AffinityError, CheckpointError, RequestError, VolumeError
from petavox.pipeline.geometry import Box
from petavox.pipeline.networks.checkpoint import save_checkpoint
from petavox.pipeline.networks.patch_grid import Patches
from petavox.pipeline.volumes import VolumeSpec, create_volume, open_volume
from petavox.tasks.work import AllTasks, Growth
from petavox.workflows.planning.patch_cost import computed
from petavox.workflows.planning.plan import make_plan
from petavox.workflows.planning.refusals import check
from petavox.workflows.planning.totals import work_of
from petavox.workflows.recipes import strict_toml
from petavox.workflows.recipes.segmentation_recipe import load
from petavox.workflows.runs.run import run

SHAPE = (6, 24, 40)
NEAREST = ((1, 0, 0), (0, 1, 0), (0, 0, 1))


def save_network(folder, seed=0, offsets=NEAREST):
    torch.manual_seed(seed)
    network = NetworkConfig(widths=(2, 3), stride=(1, 2, 2), offsets=offsets)
    config = CheckpointConfig(network=network, patch=(4, 8, 8), voxel_size=(30.0, 6.0, 6.0))
    save_checkpoint(folder, config, ResidualSymmetricUNet(network).state_dict())


def make_volume(path, array, **spec):
    channels = {"channels": len(array)} if array.ndim == 4 else {}
    spec = {"voxel_size": (30.0, 6.0, 6.0), "chunk": array.shape[-3:], **channels, **spec}
    volume = create_volume(path, VolumeSpec(array.shape[-3:], str(array.dtype), **spec))
    volume.write(Box.of_shape(volume.spec.shape), array)


@pytest.fixture
def folder(tmp_path):
    """A folder with raw data, truth, affinities, a network, and a recipe from raw data to scores."""
    random = np.random.default_rng(3)
    make_volume(tmp_path / "raw.zarr", random.integers(1, 255, SHAPE).astype(np.uint8))
    make_volume(tmp_path / "truth.zarr", random.integers(0, 3, SHAPE).astype(np.uint64))
    make_volume(tmp_path / "affinities.zarr", np.full((3, *SHAPE), 99, np.uint8), offsets=NEAREST)
    save_network(tmp_path / "network")
    (tmp_path / "recipe.toml").write_text(
        """
        input.raw = "raw.zarr"
        model.checkpoint = "network"
        blocks.shape = [6, 16, 16]
        evaluate.truth = "truth.zarr"
        cluster.kind = "serial"
        cluster.memory = "4GB"
        """
    )
    return tmp_path


def plan(folder, *overrides):
    return make_plan(load(folder / "recipe.toml", overrides), folder / "run")


def from_affinities(folder, name, **sections):
    lines = [f'input.affinities = "{folder / name}"', 'cluster.memory = "4GB"']
    lines += [f"{key.replace('_', '.', 1)} = {value}" for key, value in sections.items()]
    (folder / "recipe.toml").write_text("\n".join(lines))


def test_a_run_from_raw_data_goes_all_the_way_and_records_the_normalisation(folder):
    ending = run(load(folder / "recipe.toml"), folder / "run", Silent())
    assert (ending.failed, ending.scores is not None) == (0, True)
    recorded = load(folder / "run" / "recipe.toml")
    assert recorded.model.mean == pytest.approx(127, abs=10)
    assert recorded.model.deviation == pytest.approx(73, abs=10)
    assert open_volume(folder / "run" / "affinities.zarr").spec.offsets == NEAREST
    again = Silent()
    run(recorded, folder / "run", again)
    assert again.lines == ["Everything is done already."]


def test_grey_levels_are_normalised_by_the_image_inside_the_mask_alone(folder):
    grey, inside = np.full(SHAPE, 250, np.uint8), np.zeros(SHAPE, np.uint8)
    inside[:, :12], grey[:, :12] = 1, np.random.default_rng(3).integers(50, 70, (6, 12, 40))
    make_volume(folder / "bright.zarr", grey)
    make_volume(folder / "mask.zarr", inside)
    found = plan(folder, "input.raw=bright.zarr", "input.mask=mask.zarr").recipe.model
    assert found.mean == pytest.approx(grey[:, :12].mean(), abs=1)
    make_volume(folder / "nowhere.zarr", np.zeros(SHAPE, np.uint8))
    with pytest.raises(VolumeError, match=r"outside the mask\. State the mean and deviation"):
        plan(folder, "input.raw=bright.zarr", "input.mask=nowhere.zarr")


def test_what_is_odd_about_volumes_is_said_by_plans_and_runs(folder):
    odd = np.random.default_rng(3).random(SHAPE, np.float32)
    odd[:, :8, :8] = np.nan
    make_volume(folder / "odd.zarr", odd, voxel_size=(6.0, 6.0, 30.0))
    make_volume(folder / "nothing.zarr", np.zeros(SHAPE, np.uint64), voxel_size=(6.0, 6.0, 30.0))
    asked = load(folder / "recipe.toml", [f"input.raw={folder}/odd.zarr", f"evaluate.truth={folder}/nothing.zarr"])
    remarks = " ".join(make_plan(asked, folder / "run").remarks)
    assert "finer along z than in the plane" in remarks
    assert "infinite or not a number" in remarks
    assert "nothing.zarr: all 9 places that were looked at hold nothing but the fill value" in remarks
    make_volume(folder / "holes.zarr", odd)
    lines = Silent()
    assert run(load(folder / "recipe.toml", [f"input.raw={folder}/holes.zarr"]), folder / "run", lines).failed == 0
    assert f"{6 * 8 * 8:,} voxels are infinite or not a number; the network saw the mean" in " ".join(lines.lines)
    assert plan(folder).remarks == ()


def test_another_network_or_another_use_of_it_is_another_recipe(folder):
    run(load(folder / "recipe.toml"), folder / "run", Silent())
    others = ["model.batch=1"], ["model.precision=bfloat16"], ["model.variants=4"], ["model.combine=min"]
    for overrides in (["model.mean=1.0", "model.deviation=2.0"], *others):
        key = overrides[0].partition("=")[0]
        with pytest.raises(RequestError, match=f"begun otherwise: {key} is "):
            run(load(folder / "recipe.toml", overrides), folder / "run", Silent())
    save_network(folder / "network", seed=1)
    with pytest.raises(RequestError, match=r"begun otherwise: model\.checkpoint \(.*no longer what it was"):
        run(load(folder / "recipe.toml"), folder / "run", Silent())


def test_variants_are_nothing_that_a_run_without_them_knows_of(folder):
    """Runs that were begun before there were any go on, with nothing computed again."""
    plain, turned = plan(folder), plan(folder, "model.variants=8", "model.combine=min")
    assert not {"model.variants", "model.combine"} & plain.foundation.keys()
    assert not {"variants", "combine"} & plain.stages[0].config.model_dump().keys()
    assert (turned.stages[0].config.variants, turned.stages[0].config.combine) == (8, "min")
    once, eight = (work_of(found.stages[0], AllTasks(found.grid), Growth(0, 0, 0, 0)) for found in (plain, turned))
    assert eight.operations == 8 * once.operations > 0
    assert "variants = 8" in strict_toml.dump(turned.recipe)


def test_an_overlap_is_nothing_that_a_run_without_one_knows_of_and_computes_less(folder):
    asked = ["model.overlap=[1, 2, 2]", "model.rim=[0, 1, 1]"]
    plain, chosen = plan(folder), plan(folder, *asked)
    assert not {"model.overlap", "model.rim"} & plain.foundation.keys()
    assert not {"overlap", "rim"} & plain.stages[0].config.model_dump().keys()
    assert (chosen.stages[0].config.overlap, chosen.stages[0].config.rim) == ((1, 2, 2), (0, 1, 1))
    assert computed(chosen.grid, chosen.patches, largest=False) < computed(plain.grid, plain.patches, largest=False)


def test_a_checkpoint_says_with_which_patches_it_is_used_unless_the_recipe_does(folder):
    before = plan(folder)
    read = json.loads((folder / "network" / "config.json").read_text())
    (folder / "network" / "config.json").write_text(json.dumps({**read, "prediction": {"overlap": [1, 2, 2]}}))
    after, asked = plan(folder), plan(folder, "model.overlap=[2, 4, 4]", "model.patch=[4, 16, 16]")
    assert before.patches == Patches((4, 8, 8))
    assert after.patches == Patches((4, 8, 8), (1, 2, 2))
    assert asked.patches == Patches((4, 16, 16), (2, 4, 4))
    assert after.foundation["model.checkpoint"] != before.foundation["model.checkpoint"]


@pytest.mark.parametrize(
    ("visible", "complaint"), [("0", "found 2, and 0 in"), ("", "found 2, and none in"), ("0,1", None)]
)
def test_more_gpus_than_there_are_are_refused_with_the_cure(folder, monkeypatch, visible, complaint):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    made = plan(folder, "cluster.gpus=2", "cluster.kind=local", "cluster.workers_per_gpu=3", "cluster.memory=8GB")
    assert made.workers("gpu") == 6
    with pytest.raises(RequestError, match=complaint) if complaint else contextlib.nullcontext():
        check(made, new=True)


@pytest.mark.parametrize(
    ("cluster", "has_gpus"),
    [
        (["cluster.kind=serial", "cluster.gpus=1"], False),
        (["cluster.kind=local"], False),
        (["cluster.kind=local", "cluster.gpus=1"], True),
        (["cluster.kind=slurm"], False),
        (["cluster.kind=slurm", "cluster.pools.gpu={partition='gpu'}"], True),
    ],
)
def test_prediction_goes_to_gpu_workers_where_there_are_any_unless_the_device_says_where(folder, cluster, has_gpus):
    pools = {
        device: [stage.resources.gpu for stage in plan(folder, f"model.device={device}", *cluster).stages]
        for device in ("auto", "cpu", "cuda")
    }
    assert {device: found[0] for device, found in pools.items()} == {"auto": has_gpus, "cpu": False, "cuda": True}
    assert not any(gpu for found in pools.values() for gpu in found[1:])


def test_a_finished_run_stays_finished_when_its_cluster_gets_gpus(folder):
    run(load(folder / "recipe.toml"), folder / "run", Silent())
    again = Silent()
    run(load(folder / "recipe.toml", ["cluster.kind=local", "cluster.gpus=1"]), folder / "run", again)
    assert again.lines == ["Everything is done already."]


def test_a_plan_writes_nothing(folder):
    before = sorted(folder.rglob("*"))
    plan(folder)
    assert sorted(folder.rglob("*")) == before


def test_every_stage_comes_after_those_that_it_needs_and_asks_for_tasks_that_exist(folder):
    stages = plan(folder, "blocks.shape=[2, 8, 8]").stages
    sizes = {}
    for stage in stages:
        for number in range(len(stage)):
            assert stage.number(stage.index(number)) == number
            for name, index in stage.depends(stage.index(number)):
                assert all(0 <= i < n for i, n in zip(index, sizes[name], strict=True))
        sizes[stage.name] = stage.grid


def test_what_the_blocks_need_reaches_over_their_faces(folder):
    stages = {stage.name: stage for stage in plan(folder, "blocks.shape=[2, 8, 8]").stages}
    assert len(set(stages["supervoxels"].depends((1, 1, 1)))) == 27
    assert set(stages["faces"].depends((1, 0, 2))) == {
        ("supervoxels", index) for index in [(1, 0, 2), (0, 0, 2), (1, 0, 1)]
    }
    assert len(list(stages["scores"].depends((0, 0, 0)))) == len(stages["contingency"])


def test_one_block_needs_no_octree(folder):
    names = [stage.name for stage in plan(folder, "blocks.shape=[64, 64, 64]").stages]
    assert names == ["predict", "supervoxels", "faces", "agglomerate-0", "relabel", "contingency", "scores"]


def test_a_block_too_large_for_the_memory_is_refused_with_the_cure(folder):
    with pytest.raises(
        RequestError, match=r"may use 1 MB; a block of \[6, 16, 16\] takes .*stage predict.*blocks.shape"
    ):
        check(plan(folder, "cluster.memory=1MB"), new=True)


def test_a_checkpoint_for_other_offsets_is_refused(folder):
    save_network(folder / "network", offsets=((0, 0, 1), (0, 1, 0), (1, 0, 0)))
    with pytest.raises(CheckpointError, match="made for other offsets"):
        plan(folder)


@pytest.mark.parametrize(
    ("overrides", "complaint"),
    [
        (["input.raw=nowhere.zarr"], "nowhere.zarr"),
        (["model.checkpoint=nowhere"], "name of a model"),
        (["evaluate.truth=nowhere.zarr"], "nowhere.zarr"),
        (["input.raw=affinities.zarr"], "3 channels"),
        (["evaluate.truth=affinities.zarr"], "Labels are integers"),
        (["output.chunk=[5, 5, 5]"], r"whole chunks.*Use blocks of"),
        (["evaluate.offset=[1, 0, 0]"], "truth"),
        (["model.overlap=[1, 2, 6]"], "at most half of the patch"),
        (["model.patch=[4, 8, 10]"], "must be divisible by"),
    ],
)
def test_what_cannot_work_is_refused(folder, overrides, complaint):
    with pytest.raises(RequestError, match=complaint):
        plan(folder, *overrides)


def test_a_truth_with_another_voxel_size_is_refused_naming_both(folder):
    make_volume(folder / "coarse.zarr", np.ones(SHAPE, np.uint64), voxel_size=(40.0, 8.0, 8.0))
    with pytest.raises(VolumeError, match=r"30\.0.*coarse\.zarr.*40\.0"):
        plan(folder, "evaluate.truth=coarse.zarr")


def test_affinities_may_lie_in_any_order_and_direction_when_that_is_stated(folder):
    make_volume(folder / "plain.zarr", np.zeros((3, *SHAPE), np.float32))
    from_affinities(folder, "plain.zarr", input_offsets="[[0, 0, -1], [0, -1, 0], [1, 0, 0]]")
    config = next(stage for stage in plan(folder).stages if stage.task == "supervoxels").config
    assert (config.order, config.signs, config.bytes_per_affinity) == ((2, 1, 0), (1, -1, -1), 4)


def test_affinities_that_do_not_say_their_offsets_are_refused_with_the_line_to_add(folder):
    make_volume(folder / "plain.zarr", np.zeros((3, *SHAPE), np.uint8))
    from_affinities(folder, "plain.zarr")
    with pytest.raises(AffinityError, match=r"offsets = \[\[1, 0, 0\], \[0, 1, 0\], \[0, 0, 1\]\]"):
        plan(folder)


@pytest.mark.parametrize(("dtype", "channels"), [("uint16", 3), ("uint8", None)])
def test_what_is_no_affinities_is_refused(folder, dtype, channels):
    make_volume(folder / "odd.zarr", np.zeros(SHAPE if channels is None else (channels, *SHAPE), dtype))
    from_affinities(folder, "odd.zarr")
    with pytest.raises(AffinityError, match="c, z, y, x and are uint8 or floats"):
        plan(folder)


def test_one_offset_a_channel(folder):
    from_affinities(folder, "affinities.zarr", input_offsets="[[1, 0, 0]]")
    with pytest.raises(AffinityError, match=r"has 3, \[input\] states 1"):
        plan(folder)


def supervoxels_of(found):
    return next(stage.config for stage in found.stages if stage.task == "supervoxels")


def test_the_mutex_watershed_gets_the_channels_between_voxels_further_apart(folder):
    offsets = ((0, 0, -1), (0, 9, 0), (1, 0, 0), (0, 1, 0), (0, -1, 0), (2, 0, 0))
    make_volume(folder / "six.zarr", np.full((6, *SHAPE), 99, np.uint8), offsets=offsets)
    from_affinities(folder, "six.zarr", supervoxels_method='"mutex"', supervoxels_strides="[1, 2, 3]")
    config = supervoxels_of(plan(folder))
    assert (config.long_range, config.offsets, config.strides) == ((1, 5), ((0, 9, 0), (2, 0, 0)), (1, 2, 3))
    from_affinities(folder, "six.zarr")
    assert supervoxels_of(plan(folder)).long_range == ()


def test_the_mutex_watershed_without_such_channels_is_refused(folder):
    from_affinities(folder, "affinities.zarr", supervoxels_method='"mutex"')
    with pytest.raises(AffinityError, match=r"affinities of voxels further apart; .*affinities.zarr has the offsets"):
        plan(folder)
