"""The phantom is one volume, whatever box it is read through, and its labels are what a segmentation should find."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from scipy import ndimage

from petavox.pipeline.geometry import Box
from petavox.pipeline.phantom import Phantom, PhantomConfig

BUSY = PhantomConfig(seed=3, missing_rate=0.2, fold_rate=0.5)


def boxes_around(origin: tuple[int, int, int]) -> st.SearchStrategy[Box]:
    start = st.tuples(*(st.integers(o, o + 40) for o in origin))
    shape = st.tuples(st.integers(1, 3), st.integers(1, 40), st.integers(1, 40))
    return st.builds(lambda a, s: Box.of_shape(s, a), start, shape)


@pytest.fixture(scope="module")
def crop() -> tuple[np.ndarray, np.ndarray]:
    config = PhantomConfig(seed=5, missing_rate=0.0, fold_rate=0.0)
    return Phantom(config).read(Box.of_shape((20, 256, 256), (100, -300, 5000)))


@settings(max_examples=25, deadline=None)
@given(
    st.sampled_from([(-20, -20, -20), (0, 100, 230), (10_000, 999_990, 120)]).flatmap(
        lambda o: st.tuples(boxes_around(o), boxes_around(o))
    )
)
def test_overlapping_boxes_agree_bit_for_bit(pair: tuple[Box, Box]) -> None:
    phantom = Phantom(BUSY)
    common = pair[0].intersect(pair[1])
    whole = Box(
        tuple(min(a, b) for a, b in zip(pair[0].start, pair[1].start, strict=True)),
        tuple(max(a, b) for a, b in zip(pair[0].stop, pair[1].stop, strict=True)),
    )
    image, labels = phantom.read(whole)
    for box in (*pair, common):
        inside = box.slices(whole.start)
        part_image, part_labels = phantom.read(box)
        np.testing.assert_array_equal(part_image, image[inside])
        np.testing.assert_array_equal(part_labels, labels[inside])


def test_a_box_across_tiles_equals_its_pieces() -> None:
    phantom, box = Phantom(BUSY), Box.of_shape((10, 150, 140), (3, 60, 60))
    image, labels = phantom.read(box)
    for cut in range(70, 200, 37):
        for piece in (Box(box.start, (13, 210, cut)), Box((3, 60, cut), box.stop)):
            np.testing.assert_array_equal(phantom.raw(piece), image[piece.slices(box.start)])
            np.testing.assert_array_equal(phantom.labels(piece), labels[piece.slices(box.start)])


def test_the_same_seed_gives_the_same_volume_and_another_seed_another_one() -> None:
    box = Box.of_shape((2, 40, 40))
    image, labels = Phantom(PhantomConfig(seed=8)).read(box)
    np.testing.assert_array_equal(Phantom(PhantomConfig(seed=8)).raw(box), image)
    other_image, other_labels = Phantom(PhantomConfig(seed=9)).read(box)
    assert (other_image != image).mean() > 0.5
    assert not set(np.unique(other_labels)) & set(np.unique(labels)) - {0}


def test_membranes_are_dark_and_thin(crop: tuple[np.ndarray, np.ndarray]) -> None:
    image, labels = crop
    assert 0.05 < (labels == 0).mean() < 0.3
    assert np.median(image[labels == 0]) < np.percentile(image[labels > 0], 10)


def test_neurites_have_varied_calibres_and_fit_what_json_can_hold(crop: tuple[np.ndarray, np.ndarray]) -> None:
    _, labels = crop
    _, sizes = np.unique(labels[labels > 0], return_counts=True)
    assert len(sizes) > 20
    assert sizes.max() > 20 * np.median(sizes)
    assert labels.max() < 2**53


def test_nearly_all_of_a_neurite_hangs_together_in_a_crop(crop: tuple[np.ndarray, np.ndarray]) -> None:
    _, labels = crop
    inside = np.zeros(labels.shape, bool)
    inside[3:-3, 48:-48, 48:-48] = True
    fragmented = 0
    names, sizes = np.unique(labels[inside & (labels > 0)], return_counts=True)
    for name in names[sizes > 500]:
        pieces, _ = ndimage.label(labels == name)
        counts = np.bincount(pieces[inside])[1:]
        fragmented += counts.sum() - counts.max()
    assert fragmented < 0.05 * (labels[inside] > 0).sum()


def test_neurites_overlap_themselves_in_the_next_section(crop: tuple[np.ndarray, np.ndarray]) -> None:
    _, labels = crop
    overlap = []
    for here, there in itertools.pairwise(labels):
        names, sizes = np.unique(here[here > 0], return_counts=True)
        same = {int(n): int(c) for n, c in zip(*np.unique(here[here == there], return_counts=True), strict=True)}
        overlap += [same.get(int(n), 0) / s for n, s in zip(names, sizes, strict=True) if s > 100]
    assert np.mean(np.array(overlap) > 0.3) > 0.9


def test_shifts_move_image_and_labels_alike() -> None:
    still = PhantomConfig(seed=2, shift=0.0, missing_rate=0.0, fold_rate=0.0)
    box = Box.of_shape((6, 64, 64))
    _, calm = Phantom(still).read(box)
    image, shaken = Phantom(still.model_copy(update={"shift": 30.0})).read(box)
    assert (calm != shaken).mean() > 0.1
    assert np.median(image[shaken == 0]) < np.percentile(image[shaken > 0], 10)


def test_a_missing_section_is_black_and_keeps_its_labels() -> None:
    box = Box.of_shape((3, 32, 32))
    image, labels = Phantom(PhantomConfig(missing_rate=1.0)).read(box)
    assert not image.any()
    np.testing.assert_array_equal(labels, Phantom(PhantomConfig(missing_rate=0.0)).labels(box))


def test_an_empty_box_gives_empty_arrays() -> None:
    image, labels = Phantom().read(Box.of_shape((0, 8, 8)))
    assert image.shape == labels.shape == (0, 8, 8)


@pytest.mark.parametrize("wrong", [{"voxel_size": (30.0, 6.0, 5.0)}, {"seeds": 1}, {"noise": -1.0}, {"seed": -1}])
def test_a_wrong_config_is_refused(wrong: dict) -> None:
    with pytest.raises(ValidationError):
        PhantomConfig(**wrong)
