"""Relabelling is a look-up in a table, and refuses labels that the table does not have."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from petavox.pipeline.errors import TableError
from petavox.pipeline.segmentation.relabel import relabel


@given(arrays.arrays(np.uint32, st.tuples(*[st.integers(0, 6)] * 3), elements=st.integers(0, 9)), st.booleans())
def test_relabelling_equals_indexing(labels, transposed):
    table = np.random.default_rng(0).integers(0, 2**64, 10, dtype=np.uint64)
    given_labels = labels.T if transposed else labels
    expected = table[given_labels]
    assert np.array_equal(relabel(given_labels, table), expected)
    out = np.full(given_labels.shape, 99, np.uint64)
    assert relabel(given_labels, table, out) is out
    assert np.array_equal(out, expected)


def test_a_label_beyond_the_table_is_an_error():
    with pytest.raises(TableError, match="holds label 3, but its table ends at 2"):
        relabel(np.array([0, 3], np.uint32), np.zeros(3, np.uint64))
