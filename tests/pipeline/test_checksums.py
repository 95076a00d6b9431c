"""Checksums see every change of values, names, types and lengths, and nothing of how an array lies in memory."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from petavox.pipeline import checksums


@given(arrays.arrays(np.uint32, st.tuples(*[st.integers(1, 6)] * 3)), st.data())
def test_any_changed_bit_changes_the_checksum_of_an_array(values, data):
    place = data.draw(st.integers(0, values.size - 1))
    changed = values.copy()
    changed.flat[place] ^= np.uint32(1) << np.uint32(data.draw(st.integers(0, 31)))
    assert checksums.of_array(changed) != checksums.of_array(values)


def test_the_layout_in_memory_does_not_matter():
    values = np.arange(60, dtype=np.uint64).reshape(3, 4, 5)
    assert checksums.of_array(np.asfortranarray(values)) == checksums.of_array(values)
    assert checksums.of_array(np.repeat(values, 2, axis=2)[:, :, ::2]) == checksums.of_array(values)
    assert checksums.of_array(values[2], checksums.of_array(values[:2])) == checksums.of_array(values)


def test_names_types_and_where_columns_end_matter():
    named = {"a": np.zeros(3, np.uint64), "b": np.zeros(2, np.uint64)}
    others = [
        {"a": np.zeros(2, np.uint64), "b": np.zeros(3, np.uint64)},
        {"a": np.zeros(3, np.uint64), "c": np.zeros(2, np.uint64)},
        {"a": np.zeros(3, np.int64), "b": np.zeros(2, np.uint64)},
        {"b": np.zeros(2, np.uint64), "a": np.zeros(3, np.uint64)},
    ]
    sums = [checksums.of_columns(columns.items()) for columns in (named, *others)]
    assert len(set(sums)) == len(sums)


@given(st.lists(st.integers(0, 2**32 - 1), max_size=2))
def test_packed_checksums_come_back(values):
    number = checksums.packed(values)
    assert number < 2**64
    assert list(checksums.unpacked(number, len(values))) == values
