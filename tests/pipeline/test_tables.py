"""Tables come back as they were written, or say what is wrong."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from petavox.pipeline import tables
from petavox.pipeline.errors import StorageError, TableError

columns = st.dictionaries(
    st.sampled_from(["a", "b", "sum", "count", "first"]),
    st.sampled_from([np.uint64, np.int64, np.uint32, np.uint8, np.bool_]).flatmap(
        lambda dtype: arrays.arrays(dtype, st.integers(0, 20))
    ),
    min_size=1,
)


@given(columns)
def test_arrays_of_different_lengths_and_types_survive(tmp_path_factory, named):
    path = tmp_path_factory.mktemp("tables") / "table.parquet"
    written = tables.write(path, named)
    found = tables.read(path)
    assert written == (path.stat().st_size, tables.checksum(path))
    assert list(found) == list(named)
    for name, values in named.items():
        assert found[name].dtype == values.dtype
        assert np.array_equal(found[name], values)
        assert np.array_equal(tables.read(path, [name])[name], values)


def test_writing_twice_gives_the_same_bytes(tmp_path):
    named = {"a": np.arange(1000, dtype=np.uint64), "b": np.ones(3, dtype=bool)}
    tables.write(tmp_path / "one", named)
    tables.write(tmp_path / "two", named)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_sorted_ids_and_small_counts_take_little_room(tmp_path):
    rng = np.random.default_rng(0)
    named = {
        "a": np.sort(rng.integers(0, 1 << 40, 10_000)).astype(np.uint64),
        "count": rng.integers(0, 256, 10_000),
        "affinity": rng.integers(0, 256, 10_000).astype(np.uint8),
        "picked": rng.random(10_000) < 0.5,
    }
    sizes = {name: tables.write(tmp_path / name, {name: values}).bytes for name, values in named.items()}
    overhead = tables.write(tmp_path / "empty", {"a": np.zeros(0, np.uint64)}).bytes
    assert sizes["a"] < 10_000 * 6 + overhead  # five bytes of the ids differ
    assert sizes["count"] < 10_000 * 1.1 + overhead
    assert sizes["affinity"] < 10_000 * 1.1 + overhead
    assert sizes["picked"] < 10_000 / 8 * 1.1 + overhead


def test_tables_with_other_encodings_and_compression_are_read(tmp_path):
    values = np.arange(1000, dtype=np.uint64)
    column = pa.LargeListArray.from_arrays(pa.array([0, 1000], pa.int64()), pa.array(values))
    for compression in ("zstd", "snappy", "none"):
        pq.write_table(pa.table({"a": column}), tmp_path / "t", compression=compression, use_dictionary=False)
        assert np.array_equal(tables.read(tmp_path / "t")["a"], values)


def test_a_missing_table_and_a_missing_column_are_named(tmp_path):
    with pytest.raises(TableError, match=r"gone\.parquet is missing"):
        tables.read(tmp_path / "gone.parquet")
    tables.write(tmp_path / "t", {"a": np.zeros(1)})
    with pytest.raises(TableError, match="cannot be read"):
        tables.read(tmp_path / "t", ["b"])


@pytest.mark.parametrize("damage", [lambda data: data[:-8], lambda data: b"", lambda data: data[:40] + b"?" * 40])
def test_a_damaged_table_is_not_read_as_data(tmp_path, damage):
    path = tmp_path / "table"
    tables.write(path, {"a": np.arange(1000, dtype=np.uint64)})
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(TableError, match="cannot be read"):
        tables.read(path)


@given(st.data())
def test_no_flipped_bit_goes_unnoticed(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("tables") / "table"
    named = {"a": np.arange(40, dtype=np.uint64), "b": np.ones(30, dtype=bool)}
    written = tables.write(path, named)
    content = bytearray(path.read_bytes())
    bit = data.draw(st.integers(0, 8 * len(content) - 1))
    content[bit // 8] ^= 1 << bit % 8
    path.write_bytes(content)
    try:
        found = tables.checksum(path)
    except TableError:
        return
    again = tables.read(path)
    same = list(again) == list(named) and all(
        again[name].dtype == values.dtype and np.array_equal(again[name], values) for name, values in named.items()
    )
    assert same == (found == written.checksum), "a bit that no value depends on may go unnoticed, others not"


def test_what_cannot_be_written_leaves_nothing_behind(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StorageError, match="could not be written"):
        tables.write(tmp_path / "file" / "table", {"a": np.zeros(1)})
    with pytest.raises(TableError, match="one-dimensional"):
        tables.write(tmp_path / "table", {"a": np.zeros((2, 2))})
    assert [p.name for p in tmp_path.iterdir()] == ["file"]
