"""Whatever order and sign affinities are stored in, the segmentation gets the same ones."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from petavox.pipeline.affinities.nearest import Channels, quantise, read_nearest
from petavox.pipeline.errors import AffinityError
from petavox.pipeline.geometry import Box


@given(
    st.permutations(range(3)),
    st.tuples(*[st.sampled_from([1, -1])] * 3),
    st.tuples(*[st.integers(1, 5)] * 3),
    st.data(),
)
def test_channel_order_and_sign_make_no_difference(order, signs, volume, data):
    canonical = np.random.default_rng(0).integers(1, 256, (3, *volume), dtype=np.uint8)
    for axis in range(3):
        np.moveaxis(canonical[axis], axis, 0)[0] = 0  # edges that leave the volume
    stored = np.full((3, *volume), 7, dtype=np.uint8)
    for axis in range(3):
        source, target = (np.moveaxis(a, axis, 0) for a in (canonical[axis], stored[order[axis]]))
        if signs[axis] > 0:
            target[:] = source
        else:
            target[:-1] = source[1:]
    start = [data.draw(st.integers(0, n - 1)) for n in volume]
    stop = [data.draw(st.integers(s + 1, n)) for s, n in zip(start, volume, strict=True)]
    box = Box(tuple(start), tuple(stop))
    found = read_nearest(lambda b, c: stored[c][:, *b.slices()], box, volume, Channels(tuple(order), signs), "memory")
    expected = canonical[:, *box.slices()]
    for axis in range(3):
        ours, theirs = (np.moveaxis(a[axis], axis, 0)[int(box.start[axis] == 0) :] for a in (found, expected))
        assert np.array_equal(ours, theirs)


def test_channels_come_from_offsets():
    offsets = ((0, 0, 1), (0, 0, 9), (-1, 0, 0), (0, 1, 0))
    assert Channels.of_offsets(offsets) == Channels((2, 3, 0), (-1, 1, 1))
    with pytest.raises(AffinityError, match="along y"):
        Channels.of_offsets(((1, 0, 0), (0, 3, 0), (0, 0, 1)))
    with pytest.raises(AffinityError, match="three different channels"):
        Channels((0, 0, 1))


def test_quantising_rounds_to_the_nearest_grey_level():
    assert quantise(np.array([0, 0.5 / 255, 0.51 / 255, 1.49 / 255, 1]), "x").tolist() == [0, 0, 1, 1, 255]


@pytest.mark.parametrize(("value", "finding"), [(np.nan, "NaN"), (2.0, "values from 0 to 2"), (-1.0, "from -1 to 0")])
def test_an_error_names_the_block_and_what_it_holds(value, finding):
    with pytest.raises(AffinityError, match=rf"block 3 holds .*{finding}"):
        quantise(np.array([0.0, value]), "block 3")


def test_a_rounding_outside_of_0_to_1_is_none(recwarn):
    above = np.nextafter(np.float32(1), np.float32(2))
    found = quantise(np.array([above, -1e-7, 1 + 0.49 / 255, -0.49 / 255], np.float32), "x")
    assert found.tolist() == [255, 0, 255, 0]
    with pytest.raises(AffinityError, match=r"values from 0 to 1\.002"):
        quantise(np.array([0, 1 + 0.51 / 255]), "x")
