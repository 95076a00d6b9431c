"""The density of a volume's graph is what its supervoxels have where they are densest."""

import numpy as np
import pytest

from petavox.pipeline.affinities.nearest import Channels
from petavox.pipeline.geometry import Box
from petavox.pipeline.volumes import VolumeSpec, create_volume, default_chunks
from petavox.workflows.planning.sampled_density import sample_density
from petavox.workflows.recipes.segmentation_recipe import Supervoxels

WHOLE = Box.of_shape((20, 50, 60))


def stored(path, affinities):
    chunk, shard = default_chunks((16, 64, 64), affinities.shape[1:])
    spec = VolumeSpec(affinities.shape[1:], "uint8", (30, 6, 6), (0, 0, 0), 3, None, chunk, shard)
    volume = create_volume(path, spec)
    volume.write(spec.box, affinities)
    return volume


def test_noise_is_denser_than_smooth_affinities_and_nothing_has_no_density(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (3, *WHOLE.shape), dtype=np.uint8)
    found = [
        sample_density(stored(tmp_path / f"{i}.zarr", affinities), WHOLE, Channels(), Supervoxels())
        for i, affinities in enumerate((np.zeros_like(noise), np.full_like(noise, 255), noise))
    ]
    assert found[0] is None
    assert (found[1].fragments, found[1].contacts) == (pytest.approx(1 / noise[0].size), 0)
    assert 0.05 < found[2].fragments < 0.3
    assert found[2].contacts > 2 * found[2].fragments


def test_the_densest_place_counts(tmp_path):
    affinities = np.zeros((3, 16, 40, 900), dtype=np.uint8)
    affinities[..., 550:650] = np.random.default_rng(0).integers(0, 256, (3, 16, 40, 100), dtype=np.uint8)
    volume = stored(tmp_path / "a.zarr", affinities)
    assert sample_density(volume, volume.spec.box, Channels(), Supervoxels()).fragments > 0.01
    empty = Box((0, 0, 0), (16, 40, 550))
    assert sample_density(volume, empty, Channels(), Supervoxels()) is None
