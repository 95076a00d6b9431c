"""Labels that look like an image are remarked on; labels of every kind are not."""

from __future__ import annotations

import numpy as np
import pytest

from petavox.pipeline.volumes import VolumeSpec, create_volume, label_survey


def stored(tmp_path, values):
    volume = create_volume(tmp_path / "volume.zarr", VolumeSpec(values.shape, str(values.dtype), (30.0, 6.0, 6.0)))
    volume.write(volume.spec.box, values)
    return volume


def test_grey_values_are_taken_for_an_image(tmp_path):
    grey = np.random.default_rng(0).normal(128, 30, (16, 64, 64)).clip(1, 255).astype(np.uint8)
    (remark,) = label_survey(stored(tmp_path, grey))
    assert "looks like an image" in remark


@pytest.mark.parametrize("size", [4, 16])
def test_objects_of_any_size_and_empty_volumes_are_labels(tmp_path, size):
    z, y, x = np.ogrid[:16, :64, :64]
    labels = (1 + z // size + 10 * (y // size) + 1000 * (x // size)).astype(np.uint32)
    assert label_survey(stored(tmp_path, labels)) == ()
    assert label_survey(stored(tmp_path / "empty", np.zeros((16, 64, 64), np.uint32))) == ()
