"""Volumes are scored as arrays are, wherever the truth lies; what cannot be scored is refused."""

import io

import numpy as np
import pytest
import rich.console

from petavox.pipeline.errors import RequestError, VolumeError
from petavox.pipeline.evaluation import evaluate
from petavox.pipeline.geometry import Box
from petavox.pipeline.volumes import VolumeSpec, create_volume
from petavox.workflows.analysis import evaluate as workflow
from petavox.workflows.analysis.evaluate import evaluate_volumes
from petavox.workflows.cli.show_scores import scores_table

VOXEL = (30.0, 6.0, 6.0)


def put(path, array, **options):
    spec = {"shape": array.shape[-3:], "dtype": array.dtype.name, "voxel_size": VOXEL, "chunk": (2, 4, 4), **options}
    volume = create_volume(path, VolumeSpec(**spec))
    volume.write(Box.of_shape(array.shape[-3:]), array)
    return path


@pytest.fixture
def arrays():
    generator = np.random.default_rng(0)
    coarse = np.ones((2, 4, 4), int)
    truth = np.kron(generator.integers(0, 4, (2, 2, 3)), coarse).astype(np.uint32)
    segmentation = np.kron(generator.integers(0, 4, (3, 3, 4)), coarse).astype(np.uint64)
    return segmentation, truth


def test_volumes_get_the_scores_of_arrays(tmp_path, arrays, monkeypatch):
    segmentation, truth = arrays[0][:4, :8, :12], arrays[1]
    monkeypatch.setattr(workflow, "READING_BLOCK", 64)
    seen = []
    scores = evaluate_volumes(
        put(tmp_path / "s", segmentation), put(tmp_path / "t", truth), progress=lambda *step: seen.append(step)
    )
    assert scores == evaluate(segmentation, truth)
    assert seen == [(done, len(seen)) for done in range(1, len(seen) + 1)]
    assert len(seen) > 1


def test_a_smaller_truth_is_found_by_the_offset_or_by_the_metadata(tmp_path, arrays):
    segmentation, truth = arrays
    s, t = put(tmp_path / "s", segmentation, translation=(300, 0, 0)), put(tmp_path / "t", truth)
    by_offset = evaluate_volumes(s, t, offset=(1, 2, 3))
    by_metadata = evaluate_volumes(s, put(tmp_path / "placed", truth, translation=(330, 12, 18)))
    assert by_offset == by_metadata
    assert by_offset.adapted_rand_error == evaluate(segmentation[1:5, 2:10, 3:15], truth).adapted_rand_error


def test_a_box_restricts_the_score_as_a_crop_does(tmp_path, arrays):
    segmentation, truth = arrays[0][:4, :8, :12], arrays[1]
    box = Box((1, 2, 3), (4, 7, 12))
    scores = evaluate_volumes(put(tmp_path / "s", segmentation), put(tmp_path / "t", truth), box=box, tolerance=6)
    crop = evaluate(segmentation[box.slices()], truth[box.slices()], tolerance=6, voxel_size=VOXEL)
    assert scores.to_json() | {"splits": 0, "mergers": 0} == crop.to_json() | {"splits": 0, "mergers": 0}


def test_a_mask_leaves_voxels_out(tmp_path, arrays):
    segmentation, truth = arrays[0][:4, :8, :12], arrays[1]
    mask = (np.random.default_rng(1).random(truth.shape) < 0.5).astype(np.uint8)
    scores = evaluate_volumes(
        put(tmp_path / "s", segmentation), put(tmp_path / "t", truth), mask=put(tmp_path / "m", mask)
    )
    assert scores == evaluate(segmentation, truth, mask=mask)


@pytest.mark.parametrize("tolerance", [None, 6.0])
@pytest.mark.parametrize("unknown", [np.int64(-1), np.uint64(2**64 - 1), np.uint32(2**32 - 1), np.float64(np.nan)])
def test_truth_that_is_marked_as_unknown_is_not_scored_and_counted(tmp_path, arrays, unknown, tolerance, monkeypatch):
    monkeypatch.setattr(workflow, "READING_BLOCK", 64)
    segmentation, truth = arrays[0][:4, :8, :12], arrays[1]
    marked = truth.astype(unknown.dtype)
    marked[2:] = unknown
    scores = evaluate_volumes(put(tmp_path / "s", segmentation), put(tmp_path / "t", marked), tolerance=tolerance)
    assert scores.unknown_voxels == marked[2:].size
    truth[2:] = 0
    expected = evaluate(segmentation, truth, tolerance=tolerance, voxel_size=VOXEL)
    assert scores.to_json() | {"unknown_voxels": 0} == expected.to_json()
    assert scores == evaluate(segmentation, marked, tolerance=tolerance, voxel_size=VOXEL)
    console = rich.console.Console(file=io.StringIO(), width=120)
    console.print(scores_table(scores))
    assert "unknown voxels" in console.file.getvalue()


def refused(tmp_path, arrays, match, *, options=None, error=VolumeError, truth=None, **truth_spec):
    s = put(tmp_path / "s", arrays[0])
    t = put(tmp_path / "t", arrays[1] if truth is None else truth, **truth_spec)
    with pytest.raises(error, match=match) as caught:
        evaluate_volumes(s, t, **(options or {}))
    return str(caught.value)


def test_another_voxel_size_is_refused_naming_both(tmp_path, arrays):
    message = refused(tmp_path, arrays, "the same voxel size", voxel_size=(30, 4, 4))
    for part in ("(30.0, 6.0, 6.0)", "(30.0, 4.0, 4.0)", str(tmp_path / "s"), str(tmp_path / "t")):
        assert part in message


def test_truth_that_reaches_out_of_the_segmentation_is_refused(tmp_path, arrays):
    refused(tmp_path, arrays, r"inside the segmentation.*\[3:7", options={"offset": (3, 0, 0)})


def test_a_box_outside_the_truth_is_refused(tmp_path, arrays):
    refused(tmp_path, arrays, "inside the truth", options={"box": Box((0, 0, 0), (5, 8, 12))})


def test_truth_between_voxels_is_refused(tmp_path, arrays):
    refused(tmp_path, arrays, "one grid of voxels.*0.5", translation=(15, 0, 0))


def test_truth_that_holds_no_labels_is_refused(tmp_path, arrays):
    refused(tmp_path, arrays, "whole numbers", truth=arrays[1].astype(np.float32) + 0.5)
    refused(tmp_path / "again", arrays, "3 channels", truth=np.stack([arrays[1]] * 3), channels=3)


def test_a_mask_of_another_shape_is_refused(tmp_path, arrays):
    mask = put(tmp_path / "m", np.ones((1, 8, 12), np.uint8))
    refused(tmp_path, arrays, "the same shape", options={"mask": mask})


def test_a_negative_tolerance_is_refused(tmp_path, arrays):
    refused(tmp_path, arrays, "at least 0 nm", options={"tolerance": -1.0}, error=RequestError)


def test_a_missing_truth_is_refused(tmp_path, arrays):
    with pytest.raises(VolumeError, match="missing"):
        evaluate_volumes(put(tmp_path / "s", arrays[0]), tmp_path / "missing")


def test_the_terminal_shows_scores_and_mistakes():
    row = np.array([[[1, 1, 1, 2, 2, 2, 2]]], np.uint16)
    scores = evaluate(np.array([[[5, 5, 6, 6, 6, 6, 7]]], np.uint16), row)
    console = rich.console.Console(width=100, file=io.StringIO(), record=True)
    console.print(scores_table(scores))
    text = console.export_text()
    assert f"{scores.adapted_rand_error:.4f}" in text
    assert "Largest splits" in text
    assert "0, 0, 6" in text
