"""Planes of a volume become pictures in the right place, proportion and colour."""

import io

import imagecodecs
import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.image import imread

from petavox.pipeline.geometry import Box
from petavox.workflows.report.drawing import DEPTH, GAP, WIDTH, View, colours, grey, overlay, png

LENGTHS = st.integers(1, 10**7)
SIZES = st.floats(1, 100).map(lambda size: round(size, 1))


def read_from(array):
    return lambda box: array[(..., *box.slices())]


@given(shape=st.tuples(LENGTHS, LENGTHS, LENGTHS), size=st.tuples(SIZES, SIZES, SIZES), data=st.data())
def test_the_window_is_bounded_and_inside_the_volume(shape, size, data):
    centre = tuple(data.draw(st.integers(0, n - 1)) for n in shape)
    view = View.around(centre, shape, size)
    assert Box.of_shape(shape).contains(view.box)
    assert view.box.contains(Box.of_shape((1, 1, 1), centre))
    assert all(plane.voxels <= WIDTH * WIDTH for plane in view.planes)
    assert max(view.pixels) <= max(WIDTH, np.ceil(max(size) / min(size)))


def test_a_nanometre_is_as_long_on_every_axis():
    view = View.around((20, 300, 300), (40, 600, 600), (30.0, 6.0, 6.0))
    depth, height, width = view.pixels
    assert (height, width) == (WIDTH, WIDTH)
    assert depth == min(DEPTH // 5, 40) * 5


def test_small_volumes_are_enlarged_by_a_whole_number():
    assert View.around((1, 20, 20), (2, 40, 50), (10.0, 10.0, 10.0)).pixels == (20, 400, 500)


def test_the_three_planes_meet_in_the_centre():
    volume = np.arange(5 * 6 * 7).reshape(5, 6, 7)
    view = View(Box.of_shape((5, 6, 7)), (1, 2, 3), (1.0, 1.0, 1.0), 1.0)
    xy, zy, xz = view.panes(read_from(volume))
    np.testing.assert_array_equal(xy, volume[1])
    np.testing.assert_array_equal(zy, volume[:, :, 3].T)
    np.testing.assert_array_equal(xz, volume[:, 2])
    assert xy[2, 3] == zy[2, 1] == xz[1, 3] == volume[1, 2, 3]


def test_channels_come_last():
    view = View(Box.of_shape((2, 3, 4)), (0, 0, 0), (1.0, 1.0, 1.0), 1.0)
    panes = view.panes(read_from(np.zeros((3, 2, 3, 4), np.uint8)))
    assert [pane.shape for pane in panes] == [(3, 4, 3), (3, 2, 3), (2, 4, 3)]


def test_panes_lie_beside_and_below_the_section():
    view = View(Box.of_shape((2, 3, 4)), (0, 0, 0), (1.0, 1.0, 1.0), 1.0)
    panes = [np.full((*shape, 3), level, np.uint8) for shape, level in (((3, 4), 1), ((3, 2), 2), ((2, 4), 3))]
    picture = view.compose(panes)
    assert picture.shape == (3 + GAP + 2, 4 + GAP + 2, 3)
    assert picture[0, 0, 0] == 1
    assert picture[0, -1, 0] == 2
    assert picture[-1, 0, 0] == 3
    assert picture[-1, -1, 0] == 255


def test_grey_levels_fill_the_range_and_a_constant_survives():
    ramp = np.tile(np.linspace(1000, 3000, 256), (4, 1))
    stretched = grey([ramp, ramp, ramp])[0]
    assert stretched.min() == 0
    assert stretched.max() == 255
    assert len(np.unique(grey([np.full((2, 2), 7)] * 3)[0])) == 1


@given(st.lists(st.integers(0, 2**64 - 1), min_size=1, unique=True))
def test_a_segment_has_one_vivid_colour_everywhere(ids):
    ids = np.array(ids, np.uint64)
    found = colours(ids)
    np.testing.assert_array_equal(colours(ids[::-1])[::-1], found)
    assert (found.max(axis=1) >= 0.8 * 255 - 1e-3).all()
    assert (found.min(axis=1) <= 0.4 * found.max(axis=1) + 1e-3).all()


def test_neighbouring_ids_have_different_colours():
    found = colours(np.arange(1, 200))
    assert len(np.unique(np.round(found / 16), axis=0)) > 150


def test_background_stays_grey_and_outlines_take_the_full_colour():
    under = np.full((3, 4, 3), 100, np.uint8)
    labels = np.array([[0, 0, 9, 9]] * 3, np.uint64)
    labels[:, 3] = 8
    painted = overlay([under], [labels])[0]
    assert (painted[:, :2] == 100).all()
    np.testing.assert_array_equal(painted[0, 2], np.round(colours(np.array([9], np.uint64))[0]).astype(np.uint8))
    assert (painted[0, 3] != painted[0, 2]).any()


@given(st.integers(1, 9), st.integers(1, 9), st.integers(0, 99))
def test_png_is_lossless_for_every_reader(height, width, seed):
    picture = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    np.testing.assert_array_equal(imagecodecs.png_decode(png(picture)), picture)
    np.testing.assert_array_equal(np.round(imread(io.BytesIO(png(picture)))[..., :3] * 255), picture)
