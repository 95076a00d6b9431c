"""The tasks of a segmentation, on stored volumes and in any order, give what segmenting in memory gives."""

import random
import shutil
from pathlib import Path

import numpy as np
import pytest

import petavox
from petavox import tasks
from petavox.pipeline.checksums import packed
from petavox.pipeline.errors import TableError
from petavox.pipeline.geometry import BlockGrid, Box, Octree
from petavox.pipeline.volumes import VolumeSpec, create_volume, default_chunks, open_volume
from petavox.tasks.contract import Density

JOIN = {"join_size": 5, "join_affinity": "0.4"}
THRESHOLDS = {
    "threshold": "0.45",
    "small_size": 9,
    "small_threshold": "0.3",
    "dust_size": 3,
}


def smooth_affinities(shape, seed=0):
    """Affinities with structure: high inside random cells, low between them, noise on top."""
    rng = np.random.default_rng(seed)
    points = rng.random((40, 3)) * shape
    grid = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1)
    cells = np.argmin(((grid[..., None, :] - points) ** 2).sum(-1), axis=-1)
    inside = np.stack([np.roll(cells, 1, axis) == cells for axis in range(3)])
    return np.clip(inside * 160 + rng.integers(0, 96, (3, *shape)), 0, 255).astype(np.uint8)


def store(path, array, block, channels=None, offsets=None):
    chunk, shard = default_chunks(block, array.shape[-3:])
    spec = VolumeSpec(array.shape[-3:], array.dtype.name, (30, 6, 6), (0, 0, 0), channels, offsets, chunk, shard)
    volume = create_volume(path, spec)
    volume.write(spec.box, array)
    return volume


class StoredRun:
    """All stages of a segmentation through their tasks, each stage's tasks in random order, some of them twice."""

    def __init__(self, folder: Path, affinities, block, seed, levels=0, linkage=None, region=None, **nearest):
        self.levels, self.linkage = levels, linkage or {}
        self.volume = affinities.shape[1:]
        self.grid = BlockGrid(self.volume, block, region)
        self.octree = Octree(self.grid)
        self.order = random.Random(seed)
        folder.mkdir()
        source = store(folder / "affinities.zarr", affinities, block, len(affinities))
        chunk, shard = default_chunks(block, self.volume)
        for name, dtype in (("fragments", "uint32"), ("segmentation", "uint64")):
            spec = VolumeSpec(self.volume, dtype, (30, 6, 6), (0, 0, 0), None, None, chunk, shard)
            create_volume(folder / f"{name}.zarr", spec)
        self.fragments, self.segmentation = str(folder / "fragments.zarr"), str(folder / "segmentation.zarr")
        self.common = {"volume": self.volume, "block": block, "region": region, "tables": str(folder / "tables")}
        self.source = {"affinities": source.path, "fragments": self.fragments, **nearest}

    def stage(self, task, shape, **config):
        module = tasks.load(task)
        settings = module.Config(**self.common, **config)
        assert module.resources(settings, Density()).memory > 0
        indices = list(BlockGrid(shape, (1, 1, 1)).indices())
        for index in self.order.sample(indices, len(indices)) + indices[:1]:
            outcome = module.run(module.Config.model_validate_json(settings.model_dump_json()), index)
            assert outcome.checksum == packed([piece.checksum() for piece in module.pieces(settings, index)])

    def run(self):
        self.stage("supervoxels", self.grid.shape, low="0.1", high="0.98", levels=self.levels, **JOIN, **self.source)
        self.stage("faces", self.grid.shape, levels=self.levels, **JOIN)
        for level in range(self.octree.height + 1):
            settings = {**self.linkage, **THRESHOLDS, **JOIN, "levels": self.levels, "leaves": self.common["tables"]}
            self.stage("agglomerate", self.octree.shape(level), level=level, **settings)
        for level in range(self.octree.height, 0, -1):
            self.stage("assign", self.octree.shape(level), level=level)
        leaves = self.common["tables"]
        volumes = {"fragments": self.fragments, "segmentation": self.segmentation}
        self.stage("relabel", self.grid.shape, leaves=leaves, **volumes)
        written = open_volume(self.segmentation)
        return written.read(written.spec.box)


@pytest.mark.parametrize("block", [(20, 40, 44), (8, 16, 16), (7, 40, 13), (5, 12, 44)])
def test_stored_runs_over_any_blocks_equal_segmenting_in_memory(tmp_path, block):
    affinities = smooth_affinities((20, 40, 44))
    expected = petavox.segment(affinities, low="0.1", high="0.98", **JOIN, **THRESHOLDS)
    assert 10 < len(np.unique(expected)) < 2000
    assert np.array_equal(StoredRun(tmp_path / "run", affinities, block, seed=1).run(), expected)


REGION = Box((3, 9, 5), (17, 33, 44))


@pytest.mark.parametrize("block", [(20, 40, 44), (8, 16, 16), (7, 40, 13), (3, 12, 44)])
def test_a_region_is_segmented_as_if_cut_out_and_its_ids_are_those_of_the_volume(tmp_path, block):
    affinities = smooth_affinities((20, 40, 44))
    cut_out = petavox.segment(affinities[:, *REGION.slices()], low="0.1", high="0.98", **JOIN, **THRESHOLDS)
    run = StoredRun(tmp_path / "run", affinities, block, seed=1, region=REGION)
    assert np.array_equal(run.run(), in_volume(cut_out, REGION, affinities.shape[1:]))
    fragments = open_volume(run.fragments)
    outside = np.ones(run.volume, bool)
    outside[REGION.slices()] = False
    assert not fragments.read(fragments.spec.box)[outside].any()


def in_volume(segments, region, volume):
    """The segments of a region as a volume has them: background around it, and ids of its own voxels."""
    linear = np.arange(np.prod(volume), dtype=np.uint64).reshape(volume)[region.slices()].ravel()
    whole = np.zeros(volume, np.uint64)
    whole[region.slices()] = np.concatenate([np.zeros(1, np.uint64), linear + np.uint64(1)])[segments]
    return whole


def test_quantile_linkage_through_stored_histograms_equals_segmenting_in_memory(tmp_path):
    affinities = smooth_affinities((12, 30, 31))
    linkage = {"linkage": "quantile", "quantile": "0.7"}
    expected = petavox.segment(affinities, low="0.1", high="0.98", levels=12, **linkage, **JOIN, **THRESHOLDS)
    assert 10 < len(np.unique(expected)) < 2000
    run = StoredRun(tmp_path / "run", affinities, (5, 16, 31), seed=3, levels=12, linkage=linkage)
    assert np.array_equal(run.run(), expected)


def test_multicut_gives_the_same_segments_in_any_order_of_work(tmp_path):
    affinities = smooth_affinities((12, 30, 31))
    one, other = (
        StoredRun(tmp_path / str(seed), affinities, (6, 16, 31), seed, linkage={"linkage": "multicut"}).run()
        for seed in (1, 2)
    )
    assert 10 < len(np.unique(one)) < 2000
    assert np.array_equal(one, other)


def test_mutex_supervoxels_give_the_same_segments_in_any_order_of_work(tmp_path):
    affinities = np.concatenate([smooth_affinities((12, 30, 31)), smooth_affinities((12, 30, 31), seed=5)])
    settings = {"method": "mutex", "long_range": (4, 5), "offsets": ((0, 3, 0), (0, 0, -4)), "strides": (1, 2, 2)}
    one, other = (
        StoredRun(tmp_path / str(seed), affinities, (6, 16, 31), seed, linkage={"linkage": "mean"}, **settings).run()
        for seed in (1, 2)
    )
    assert 10 < len(np.unique(one)) < 5000
    assert np.array_equal(one, other)
    watershed = StoredRun(tmp_path / "watershed", affinities, (6, 16, 31), 1).run()
    assert not np.array_equal(one, watershed)


def test_float_affinities_of_another_order_and_sign_give_the_same_segments(tmp_path):
    affinities = smooth_affinities((9, 20, 21))
    for axis in range(3):
        np.moveaxis(affinities[axis], axis, 0)[0] = 0
    expected = petavox.segment(affinities, low="0.1", high="0.98", **JOIN, **THRESHOLDS)
    stored = np.zeros((4, 9, 20, 21), dtype=np.float32)
    stored[3], stored[1] = affinities[0] / np.float32(255), affinities[1] / np.float32(255)
    stored[0, :, :, :-1] = affinities[2][:, :, 1:] / np.float32(255)
    run = StoredRun(tmp_path / "run", stored, (4, 20, 8), seed=2, order=(3, 1, 0), signs=(1, 1, -1))
    assert np.array_equal(run.run(), expected)


def test_supervoxels_that_are_not_as_they_were_written_are_refused(tmp_path):
    run = StoredRun(tmp_path / "run", smooth_affinities((12, 30, 31)), (6, 16, 31), seed=1)
    run.run()
    shutil.rmtree(Path(run.fragments) / "0" / "c")
    settings = {"fragments": run.fragments, "segmentation": run.segmentation, "leaves": run.common["tables"]}
    module = tasks.load("relabel")
    with pytest.raises(TableError, match="missing or damaged"):
        module.run(module.Config(**run.common, **settings), (0, 0, 0))
