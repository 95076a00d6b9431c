import numpy as np
import pytest
import torch

from petavox.pipeline.affinities.checkpoint import CheckpointConfig
from petavox.pipeline.affinities.offsets import NEAREST
from petavox.pipeline.affinities.unet import NetworkConfig, ResidualSymmetricUNet
from petavox.pipeline.errors import CheckpointError, StorageError
from petavox.pipeline.geometry import BlockGrid, Box
from petavox.pipeline.networks.checkpoint import save_checkpoint
from petavox.pipeline.networks.normalisation import Normalisation
from petavox.pipeline.volumes import Volume, VolumeSource, VolumeSpec, create_volume, open_volume
from petavox.tasks import predict
from petavox.tasks.contract import Density

SHAPE = (6, 24, 40)
NETWORK = NetworkConfig(widths=(2, 3), stride=(1, 2, 2))


@pytest.fixture
def make(tmp_path):
    """Makes the config of a run that predicts a raw volume, black on the right, in blocks of a shape."""
    grey = np.random.default_rng(0).integers(1, 255, SHAPE, dtype=np.uint8)
    grey[:, :, 16:] = 0
    raw = create_volume(tmp_path / "raw.zarr", VolumeSpec(SHAPE, "uint8", (30.0, 6.0, 6.0), chunk=SHAPE))
    raw.write(raw.spec.box, grey)

    torch.manual_seed(0)
    network = ResidualSymmetricUNet(NETWORK)
    config = CheckpointConfig(network=NETWORK, patch=(4, 8, 8), voxel_size=(30.0, 6.0, 6.0))
    save_checkpoint(tmp_path / "model", config, network.state_dict())

    def config_of(block, chunk=None):
        path = tmp_path / f"affinities{block}{chunk}.zarr"
        create_volume(path, predict.affinities_spec(raw.spec, chunk=chunk or block, shard=None))
        return predict.Config(
            raw=str(tmp_path / "raw.zarr"),
            checkpoint=str(tmp_path / "model"),
            affinities=str(path),
            block=block,
            normalisation=Normalisation(mean=120.0, deviation=60.0),
            patch=None,
            batch=2,
            threads=1,
            device="cpu",
            precision="float32",
        )

    return config_of


def run_all(config):
    grid = BlockGrid(SHAPE, config.block, config.region)
    outcomes = {index: predict.run(config, index) for index in grid.indices()}
    for index, outcome in outcomes.items():
        (part,) = predict.pieces(config, index)
        assert part.checksum() == outcome.checksum
    return outcomes


def read_all(config):
    volume = open_volume(config.affinities)
    return volume.read(volume.spec.box)


def test_affinities_are_the_same_for_any_blocks(make):
    whole, parts = make(SHAPE), make((4, 8, 8))
    run_all(whole)
    run_all(parts)
    np.testing.assert_array_equal(read_all(parts), read_all(whole))
    assert read_all(whole)[..., :16].std() > 0


@pytest.mark.parametrize("block", [SHAPE, (4, 8, 8)])
def test_affinities_of_a_region_are_those_of_the_volume_and_nothing_lies_around_it(make, block):
    region = Box((1, 3, 2), (5, 19, 13))
    whole, part = make(SHAPE), make(block, chunk=(2, 8, 8)).model_copy(update={"region": region})
    run_all(whole)
    run_all(part)
    found, expected = read_all(part), np.zeros((3, *SHAPE), np.uint8)
    expected[:, *region.slices()] = read_all(whole)[:, *region.slices()]
    np.testing.assert_array_equal(found, expected)
    assert expected.std() > 0


def test_a_block_is_written_slab_by_slab_as_it_would_be_at_once(make, monkeypatch):
    written, write = [], Volume.write

    def writing(volume, box, array):
        written.append(box)
        write(volume, box, array)

    monkeypatch.setattr(Volume, "write", writing)
    at_once, by_slabs = make(SHAPE), make(SHAPE, chunk=(2, 8, 8))
    run_all(at_once)
    assert [box.shape[0] for box in written] == [6]
    run_all(by_slabs)
    assert [box.shape[0] for box in written[1:]] == [2, 2, 2]
    np.testing.assert_array_equal(read_all(by_slabs), read_all(at_once))


def test_a_block_that_cannot_be_written_is_not_done(make, monkeypatch):
    def refusing(*_):
        raise StorageError("The disk is full.")

    monkeypatch.setattr(Volume, "write", refusing)
    with pytest.raises(StorageError, match="The disk is full"):
        predict.run(make(SHAPE), (0, 0, 0))


def test_the_affinities_volume_lies_where_the_raw_volume_lies_and_knows_its_offsets(make):
    spec = open_volume(make(SHAPE).affinities).spec
    assert (spec.shape, spec.channels, spec.dtype) == (SHAPE, 3, "uint8")
    assert spec.voxel_size == (30.0, 6.0, 6.0)
    assert spec.offsets == NEAREST


def test_blocks_without_image_are_empty_and_not_written(make):
    config = make((6, 8, 8))
    outcomes = run_all(config)
    assert {index[2] for index, outcome in outcomes.items() if outcome.state == "empty"} == {3, 4}
    assert not read_all(config)[..., 24:].any()


def test_nothing_is_predicted_outside_a_mask_whatever_the_blocks(make, tmp_path):
    inside = np.zeros(SHAPE, np.uint8)
    inside[1:5, 3:20, 4:13] = 1
    create_volume(tmp_path / "mask.zarr", VolumeSpec(SHAPE, "uint8", (30.0, 6.0, 6.0), chunk=SHAPE)).write(
        Box.of_shape(SHAPE), inside
    )
    whole, masked, parts = make(SHAPE), make((6, 24, 20)), make((6, 8, 8))
    run_all(whole)
    run_all(masked.model_copy(update={"mask": VolumeSource.of(tmp_path / "mask.zarr")}))
    outcomes = run_all(parts.model_copy(update={"mask": VolumeSource.of(tmp_path / "mask.zarr")}))
    assert {index for index, outcome in outcomes.items() if outcome.state == "masked"} == {
        index for index in outcomes if index[2] > 1
    }
    expected = read_all(whole)
    for channel, offset in enumerate(NEAREST):
        expected[channel] *= inside * np.roll(inside, offset, (0, 1, 2))
    np.testing.assert_array_equal(read_all(parts), expected)
    np.testing.assert_array_equal(read_all(masked), expected)
    assert "mask" not in whole.model_dump()


def test_a_worker_whose_gpu_torch_cannot_use_computes_on_the_cpu_and_says_so_once(make, monkeypatch, caplog):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    strict, auto = make((6, 8, 8)), make((6, 24, 8)).model_copy(update={"device": "auto"})
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")
    run_all(strict)
    assert not caplog.messages
    run_all(auto)
    (message,) = caplog.messages
    assert "computes on the CPU" in message
    assert "GPU 3" in message
    np.testing.assert_array_equal(read_all(auto), read_all(strict))


def test_a_cpu_worker_computes_on_the_cpu_without_a_word(make, monkeypatch, caplog):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    run_all(make(SHAPE).model_copy(update={"device": "auto"}))
    assert not caplog.messages


def test_memory_grows_with_the_block(make):
    small, large = predict.resources(make((2, 8, 8)), Density()), predict.resources(make((4, 24, 40)), Density())
    assert predict.TORCH_BYTES < small.memory < large.memory
    assert not small.gpu


def test_a_checkpoint_with_other_offsets_is_refused_before_anything_runs(make, tmp_path):
    config = make((6, 8, 8))
    turned = NETWORK.model_copy(update={"offsets": NEAREST[::-1]})
    checkpoint = CheckpointConfig(network=turned, patch=(4, 8, 8), voxel_size=(30.0, 6.0, 6.0))
    save_checkpoint(tmp_path / "model", checkpoint, ResidualSymmetricUNet(turned).state_dict())
    with pytest.raises(CheckpointError, match="other offsets"):
        predict.resources(config, Density())


def test_voxels_without_a_number_spoil_no_others_whatever_the_blocks(make, tmp_path):
    grey = open_volume(tmp_path / "raw.zarr").read(Box.of_shape(SHAPE)).astype(np.float32)
    hole = np.zeros(SHAPE, bool)
    hole[2, 3, 5], hole[:, 20:, 2:9] = True, True
    paths = {"mean": np.where(hole, np.float32(120), grey), "odd": np.where(hole, np.float32(np.nan), grey)}
    paths["odd"][2, 3, 5] = np.inf
    for name, voxels in paths.items():
        made = create_volume(tmp_path / f"{name}.zarr", VolumeSpec(SHAPE, "float32", (30.0, 6.0, 6.0), chunk=SHAPE))
        made.write(made.spec.box, voxels)
    ways = {"mean": make(SHAPE), "odd": make(SHAPE, chunk=(3, 8, 8))}, {"odd": make((4, 8, 8))}
    configs = [
        config.model_copy(update={"raw": str(tmp_path / f"{name}.zarr")})
        for way in ways
        for name, config in way.items()
    ]
    outcomes = [run_all(config) for config in configs]
    expected, found, cut = map(read_all, configs)
    for axis in range(3):  # an edge to where there is no number has affinity 0, all others are those of the mean
        touched = hole.copy()
        after, before = [slice(None)] * 3, [slice(None)] * 3
        after[axis], before[axis] = slice(1, None), slice(-1)
        touched[tuple(after)] |= hole[tuple(before)]
        assert not found[axis][touched].any()
        np.testing.assert_array_equal(found[axis][~touched], expected[axis][~touched])
    np.testing.assert_array_equal(found, cut)
    counted = [sum(outcome.counts.get(predict.NOT_FINITE, 0) for outcome in run.values()) for run in outcomes]
    assert counted == [0, hole.sum(), hole.sum()]
