"""Labels of any type become ids, and what other programs mark as unknown becomes 0; fractions are no labels."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from petavox.pipeline.errors import VolumeError
from petavox.pipeline.labels import object_ids, unknown_voxels

TYPES = st.sampled_from(["bool", "u1", "u2", "u4", "u8", "i1", "i2", "i4", "i8"])


@given(hnp.arrays(TYPES, hnp.array_shapes(min_dims=3, max_dims=3, max_side=4)))
def test_integers_keep_their_number_unless_they_mark_what_is_unknown(labels):
    ids = object_ids(labels, "truth")
    numbers = [int(value) for value in labels.ravel()]
    largest = {4: 2**32 - 1, 8: 2**64 - 3}.get(labels.dtype.itemsize, 2**65) if labels.dtype.kind == "u" else 2**65
    assert ids.ravel().tolist() == [value if 0 <= value < largest else 0 for value in numbers]
    assert unknown_voxels(labels) == sum(not 0 <= value < largest for value in numbers)
    assert ids.dtype.kind == "u"


@given(st.lists(st.integers(0, 2**24), min_size=1), st.sampled_from(["f4", "f8"]))
def test_floats_that_hold_whole_numbers_are_labels(values, kind):
    labels = np.array([[[*values, np.nan, -1.0, np.inf]]], kind)
    assert object_ids(labels, "truth").ravel().tolist() == [*values, 0, 0, 0]
    assert unknown_voxels(labels) == 3
    assert unknown_voxels(labels, np.zeros(labels.shape, bool)) == 0


@pytest.mark.parametrize(
    ("value", "said"),
    [(np.float32(0.5), "Is it an image"), (np.float32(2**25), "above 16777216"), (np.complex64(1), "complex64")],
)
def test_what_is_no_label_is_refused(value, said):
    with pytest.raises(VolumeError, match=said):
        object_ids(np.full((1, 1, 2), value), "truth")
