"""The tasks that count and score leave exactly what the evaluation in memory gives."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from petavox.pipeline.errors import TableError, VolumeError
from petavox.pipeline.evaluation import evaluate
from petavox.pipeline.geometry import BlockGrid, Box
from petavox.pipeline.volumes import VolumeSpec, create_volume
from petavox.tasks import block_tables, contingency, scores
from petavox.tasks.contract import Density

SHAPE = (4, 10, 12)
VOXEL = (30.0, 6.0, 6.0)


def put(path, array):
    shape = array.shape
    volume = create_volume(path, VolumeSpec(shape=shape, dtype=array.dtype.name, voxel_size=VOXEL, chunk=(4, 4, 4)))
    volume.write(Box.of_shape(shape), array)
    return str(path)


@pytest.fixture(scope="module")
def volumes(tmp_path_factory):
    """A segmentation, a smaller truth that begins at (1, 2, 3) in it, and a mask on the truth's frame."""
    folder = tmp_path_factory.mktemp("volumes")
    generator = np.random.default_rng(0)
    segmentation = np.kron(generator.integers(0, 5, (2, 5, 4)), np.ones((2, 2, 3), int)).astype(np.uint64) * 10**12
    truth = np.kron(generator.integers(0, 4, (3, 2, 2)), np.ones((1, 4, 4), int)).astype(np.uint16)
    mask = (generator.random(truth.shape) < 0.9).astype(np.uint8)
    paths = {
        "segmentation": put(folder / "segmentation.zarr", segmentation),
        "truth": put(folder / "truth.zarr", truth),
        "mask": put(folder / "mask.zarr", mask),
    }
    return paths, segmentation, truth, mask


def config_of(paths, tables, block=(2, 4, 4), **options):
    box = {"start": (1, 2, 3), "stop": (4, 10, 11)}
    return contingency.Config(
        volume=SHAPE, block=block, offset=(1, 2, 3), tables=str(tables), **{**box, **options, **paths}
    )


def run_all(config, target):
    for index in BlockGrid(config.volume, config.block).indices():
        contingency.run(config, index)
    scores.run(scores.Config(contingency=config, scores=str(target)), (0, 0, 0))
    return scores.read(target)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    block=st.tuples(st.integers(1, 4), st.integers(2, 10), st.integers(2, 12)),
    masked=st.booleans(),
    tolerance=st.sampled_from([None, 0.0, 6.0, 13.0]),
)
def test_scores_do_not_depend_on_the_blocks(volumes, tmp_path_factory, block, masked, tolerance):
    paths, segmentation, truth, mask = volumes
    folder = tmp_path_factory.mktemp("run")
    named = paths if masked else {name: path for name, path in paths.items() if name != "mask"}
    found = run_all(config_of(named, folder, block, tolerance=tolerance), folder / "scores.json")
    expected = evaluate(
        segmentation[1:4, 2:10, 3:11], truth, mask=mask if masked else None, tolerance=tolerance, voxel_size=VOXEL
    )
    assert without_places(found) == without_places(expected)
    for split, other in zip(found.splits, expected.splits, strict=True):
        assert split.box == other.box.shift((1, 2, 3))
        z, y, x = split.voxel
        assert (segmentation[z, y, x], truth[z - 1, y - 2, x - 3]) == (split.piece, split.truth)


def without_places(values):
    flat = values.to_json()
    for mistake in (*flat["splits"], *flat["mergers"]):
        del mistake["voxel"], mistake["box"]
    return flat


def test_only_blocks_that_touch_the_scored_box_leave_a_table(volumes, tmp_path):
    config = config_of(volumes[0], tmp_path, start=(1, 4, 4), stop=(2, 8, 8))
    states = {index: contingency.run(config, index).state for index in BlockGrid(SHAPE, config.block).indices()}
    assert [index for index, state in states.items() if state == "done"] == [(0, 1, 1)]
    assert {state for index, state in states.items() if index != (0, 1, 1)} == {"masked"}
    assert [len(contingency.pieces(config, index)) for index in states] == [int(s == "done") for s in states.values()]
    assert list(contingency.blocks(config)) == [(0, 1, 1)]
    assert len(list(tmp_path.rglob("*.parquet"))) == 1


def test_the_scores_file_has_the_promised_keys(volumes, tmp_path):
    run_all(config_of(volumes[0], tmp_path), tmp_path / "scores.json")
    promised = {"adapted_rand_error", "precision", "recall", "voi_split", "voi_merge", "cremi_score"}
    assert promised <= set(json.loads((tmp_path / "scores.json").read_text()))


def test_a_missing_table_is_an_error_not_a_better_score(volumes, tmp_path):
    config = config_of(volumes[0], tmp_path)
    run_all(config, tmp_path / "scores.json")
    Path(block_tables.path(config.tables, "contingency", (0, 1, 1))).unlink()
    with pytest.raises(TableError, match="missing"):
        scores.run(scores.Config(contingency=config, scores=str(tmp_path / "scores.json")), (0, 0, 0))


def test_truth_without_a_label_cannot_be_scored(volumes, tmp_path):
    paths = {**volumes[0], "mask": put(tmp_path / "nothing.zarr", np.zeros((3, 8, 8), np.uint8))}
    with pytest.raises(VolumeError, match="none of the 0 voxels"):
        run_all(config_of(paths, tmp_path), tmp_path / "scores.json")
    assert not (tmp_path / "scores.json").exists()


def test_configs_survive_json(volumes, tmp_path):
    config = scores.Config(contingency=config_of(volumes[0], tmp_path), scores="scores.json")
    assert scores.Config.model_validate_json(config.model_dump_json()) == config


def test_memory_is_stated_in_advance(volumes, tmp_path):
    small, large = config_of(volumes[0], tmp_path), config_of(volumes[0], tmp_path, (4, 10, 12))
    assert 0 < contingency.resources(small, Density()).memory < contingency.resources(large, Density()).memory
    assert scores.resources(scores.Config(contingency=small, scores="scores.json"), Density()).memory > 0
