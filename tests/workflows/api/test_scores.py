"""Scores of arrays and of volumes are the same, and the two are not mixed up."""

from __future__ import annotations

import numpy as np
import pytest

import petavox
from petavox.pipeline.errors import RequestError


@pytest.fixture
def labels(finished, small):
    return petavox.open_run(finished).cut(0.5, progress=False, cluster="serial").segmentation, small / "truth.zarr"


def test_arrays_volumes_and_paths_have_the_same_scores(labels):
    segmentation, truth = labels
    scores = petavox.evaluate(segmentation, truth)
    assert 0 < scores.adapted_rand_error < 1
    assert petavox.evaluate(segmentation.path, str(truth)) == scores
    assert petavox.evaluate(segmentation[:], petavox.open(truth)[:]) == scores


def test_a_box_of_volumes_is_a_part_of_arrays(labels):
    segmentation, truth = labels
    part = petavox.evaluate(segmentation, truth, box=((2, 3, 4), (8, 30, 30)))
    here = (slice(2, 8), slice(3, 30), slice(4, 30))
    assert part.adapted_rand_error == petavox.evaluate(segmentation[here], petavox.open(truth)[here]).adapted_rand_error


@pytest.mark.parametrize(
    ("more", "rule"),
    [
        ({"offset": (0, 0, 0)}, "'offset' belongs to the scores of volumes"),
        ({"box": ((0, 0, 0), (1, 1, 1))}, "'box' belongs to the scores of volumes"),
        ({"mask": "mask.zarr"}, "Arrays are scored with arrays"),
    ],
)
def test_arrays_take_only_what_arrays_have(more, rule):
    with pytest.raises(RequestError, match=rule):
        petavox.evaluate(np.ones((2, 2, 2), int), np.ones((2, 2, 2), int), **more)


@pytest.mark.parametrize("more", [{"voxel_size": (1, 1, 1)}, {"connected_components": True}])
def test_volumes_take_only_what_volumes_have(labels, more):
    with pytest.raises(RequestError, match="belongs to the scores of arrays"):
        petavox.evaluate(*labels, **more)


def test_an_array_and_a_volume_are_not_scored_with_each_other(labels):
    segmentation, truth = labels
    with pytest.raises(RequestError, match="found both"):
        petavox.evaluate(segmentation[:], truth)
