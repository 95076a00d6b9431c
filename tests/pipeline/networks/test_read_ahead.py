"""The image of a block: patches of it are those of the mirrored volume, whatever is read when."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from petavox.pipeline.geometry import Box
from petavox.pipeline.networks.device import Device
from petavox.pipeline.networks.normalisation import as_tensor
from petavox.pipeline.networks.patch_grid import mirrored
from petavox.pipeline.networks.read_ahead import reading

shapes = st.tuples(*(st.integers(1, 12),) * 3)
patches = st.lists(
    st.builds(Box.of_shape, st.tuples(*(st.integers(1, 9),) * 3), st.tuples(*(st.integers(-8, 12),) * 3)),
    min_size=1,
    max_size=5,
)


def seen(volume, box):
    """The grey values of a box, by definition."""
    return volume[np.ix_(*(mirrored(*ends) for ends in zip(box.start, box.stop, volume.shape, strict=True)))]


@settings(max_examples=60, deadline=None)
@given(
    shape=shapes,
    boxes=patches,
    depth=st.integers(1, 5),
    kind=st.sampled_from([(np.uint8, 7.0), (np.uint8, 0.0), (np.uint16, 300.0), (np.float32, 0.25), (np.int16, -1.0)]),
    seed=st.integers(0, 99),
)
def test_a_patch_is_its_part_of_the_mirrored_volume_and_is_known_to_hold_image_or_not(shape, boxes, depth, kind, seed):
    dtype, fill = kind
    random = np.random.default_rng(seed)
    volume = np.full(shape, fill, dtype)
    volume[random.random(shape) < 0.03] = 99
    with reading(lambda box: volume[box.slices()], shape, boxes, depth, Device("cpu"), fill) as image:
        for box in boxes:
            expected = seen(volume, box)
            assert image.holds_image(box) == (expected != fill).any()
            torch.testing.assert_close(image.patch(box), as_tensor(expected), rtol=0, atol=0)


def test_where_no_grey_value_means_nothing_every_patch_holds_image():
    volume, box = np.zeros((4, 4, 4), np.uint8), Box.of_shape((2, 2, 2))
    with reading(lambda b: volume[b.slices()], volume.shape, [box], 2, Device("cpu")) as image:
        assert image.holds_image(box)


def test_an_error_while_reading_reaches_who_asks_for_a_patch():
    def read(box):
        raise OSError("The disk is gone.")

    box = Box.of_shape((2, 2, 2))
    with reading(read, (4, 4, 4), [box], 2, Device("cpu")) as image, pytest.raises(OSError, match="gone"):
        image.patch(box)
