"""The shipped network finds the neurites of a phantom that it has not seen: from the image to a score, as the demo."""

from __future__ import annotations

import pytest
from fakes.shuffled import Silent

from petavox import cluster
from petavox.workflows.execution import attempt
from petavox.workflows.runs import demo

SHAPE = (16, 128, 128)


@pytest.mark.slow
def test_a_small_phantom_is_segmented_with_an_error_below_five_percent(tmp_path, monkeypatch):
    serial = cluster.start(cluster.ClusterSpec("serial"), attempt.perform)
    monkeypatch.setattr(cluster, "start", lambda *_, **__: serial)
    monkeypatch.setattr(demo, "BLOCK", SHAPE)
    scores = demo.run_demo(tmp_path, 1, Silent(), SHAPE).scores
    assert scores.truth_objects >= 5
    assert scores.unlabelled_voxels < 0.01 * scores.truth_voxels
    assert scores.adapted_rand_error < 0.05
