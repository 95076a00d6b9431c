"""The report shows the worst mistakes where they are, in the colours that the affinities' channels stand for."""

from __future__ import annotations

import base64

import imagecodecs
import numpy as np
import pytest

from petavox.pipeline.affinities.nearest import Channels
from petavox.pipeline.evaluation import evaluate
from petavox.pipeline.volumes import VolumeSource, VolumeSpec, create_volume
from petavox.workflows.report.pictures import Volumes, draw_scenes, worst_mistakes

SHAPE = (8, 60, 60)


def put(path, array, **options):
    spec = VolumeSpec(array.shape[-3:], array.dtype.name, (30.0, 6.0, 6.0), **options)
    create_volume(path, spec).write(spec.box, array)
    return str(path)


def cells(start=1):
    """Four objects, each a quarter of every section."""
    labels = np.zeros(SHAPE, np.uint64)
    labels[:, :30, :30], labels[:, :30, 30:], labels[:, 30:, :30], labels[:, 30:, 30:] = np.arange(start, start + 4)
    return labels


@pytest.fixture
def volumes(tmp_path):
    """A segmentation that joins objects 1 and 2, splits object 4 in two, and has no mistake in the middle."""
    truth, segmentation = cells(), cells(11)
    segmentation[:, :30, 30:] = 11
    segmentation[6:, 40:, 44:] = 15
    return Volumes(
        segmentation=put(tmp_path / "segmentation.zarr", segmentation),
        raw=None,
        affinities=None,
        channels=Channels(),
        truth=VolumeSource.of(put(tmp_path / "truth.zarr", truth)),
        truth_offset=(0, 0, 0),
    ), evaluate(segmentation, truth)


def pixels(picture):
    return imagecodecs.png_decode(base64.b64decode(picture.png))


def test_the_worst_merger_and_the_worst_split_are_shown_where_they_are(volumes):
    _, scores = volumes
    merger, split = worst_mistakes(scores)
    assert (merger.segments, merger.objects) == ((11,), (1, 2))
    assert (split.segments, split.objects) == ((14, 15), (4,))
    z, y, x = merger.centre
    assert y < 30
    assert x >= 30
    z, y, x = split.centre
    assert z >= 6
    assert y >= 40
    assert x >= 44


def test_a_scene_colours_the_labels_of_the_mistake_and_leaves_the_others_grey(volumes):
    stored, scores = volumes
    (title, (segments, objects)), (split, _) = draw_scenes(stored, scores)
    assert title.startswith(
        "Worst merger: segment 11 is mainly object 1 and has 7,200 voxels of object 2, at z, y, x = "
    )
    assert split.startswith("Worst split: object 4 is mainly segment 14 and lost 640 voxels to segment 15, at z, y, x")
    for picture, inside, outside in ((segments, (5, 55), (55, 25)), (objects, (25, 55), (55, 25))):
        image = pixels(picture)
        colours = [image[8 * y + 4, 8 * x + 4] for y, x in (inside, outside)]  # 8 pixels a voxel, in the section
        assert len(set(colours[0].tolist())) > 1
        assert colours[1].tolist() == [128, 128, 128]


def test_without_mistakes_or_without_truth_the_middle_is_shown(volumes, tmp_path):
    stored, _ = volumes
    perfect = evaluate(cells(), cells())
    for scores in (perfect, None):
        ((title, shown),) = draw_scenes(stored, scores)
        assert title == "The middle, at z, y, x = 4, 30, 30"
        assert len(shown) == 2


def test_affinities_stored_in_another_order_or_direction_get_the_colours_of_their_axes(volumes, tmp_path):
    stored, _ = volumes
    affinities = np.random.default_rng(0).integers(1, 255, (3, *SHAPE), np.uint8)
    for axis in range(3):
        np.moveaxis(affinities[axis], axis, 0)[0] = 0  # edges that leave the volume
    turned = affinities[::-1].copy()
    turned[0] = np.roll(turned[0], -1, axis=2)  # x, stored at the other end of its edges
    volumes_of = {
        "zyx": (affinities, Channels()),
        "xyz": (turned, Channels((2, 1, 0), (1, 1, -1))),
    }
    shown = []
    for name, (array, channels) in volumes_of.items():
        path = VolumeSource.of(put(tmp_path / f"{name}.zarr", array, channels=3))
        ((_, found),) = draw_scenes(
            Volumes(stored.segmentation, None, path, channels, None, (0, 0, 0)),
            None,
        )
        shown.append(pixels(found[0]))
    np.testing.assert_array_equal(*shown)
