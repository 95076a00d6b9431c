"""Specs are checked at the door; chunks fit blocks; blocks that cut chunks are refused with a cure that works."""

import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from petavox.pipeline.errors import VolumeError
from petavox.pipeline.geometry import BlockGrid
from petavox.pipeline.volumes import VolumeSpec, check_write_boxes, default_chunks
from petavox.pipeline.volumes.spec import CHUNK_TARGET, SHARD_VOXELS

GOOD = {"shape": (40, 50, 60), "dtype": "uint8", "voxel_size": (30.0, 6.0, 6.0)}
lengths = st.integers(1, 300)
triples = st.tuples(lengths, lengths, lengths)


@pytest.mark.parametrize(
    "wrong",
    [
        {"shape": (0, 50, 60)},
        {"dtype": "complex64"},
        {"dtype": "no such type"},
        {"voxel_size": (30.0, 0.0, 6.0)},
        {"voxel_size": (30.0, math.nan, 6.0)},
        {"voxel_size": (6.0, 6.0)},
        {"channels": 0},
        {"channels": 2, "offsets": ((1, 0, 0),)},
        {"offsets": ((1, 0, 0),)},
        {"chunk": (16, 16, 16), "shard": (32, 32, 40)},
        {"chunk": (0, 16, 16)},
    ],
)
def test_a_spec_that_breaks_a_rule_is_refused(wrong):
    with pytest.raises(VolumeError):
        VolumeSpec(**(GOOD | wrong))


def test_a_shard_of_one_chunk_is_no_shard():
    chunk = (16, 16, 16)
    assert VolumeSpec(**GOOD, chunk=chunk, shard=chunk) == VolumeSpec(**GOOD, chunk=chunk)
    assert VolumeSpec(**GOOD, chunk=chunk, shard=chunk).write_unit == chunk


def test_differences_name_the_field_and_both_values():
    a, b = VolumeSpec(**GOOD), VolumeSpec(**(GOOD | {"dtype": "uint64"}))
    assert a.differences(b) == ["dtype uint8 / uint64"]
    assert a.differences(a) == []


@given(block=triples, volume=triples)
def test_default_chunks_fit_any_block(block, volume):
    chunk, shard = default_chunks(block, volume)
    assert all(s % c == 0 for s, c in zip(shard, chunk, strict=True))
    spec = VolumeSpec(volume, "uint64", (1, 1, 1), chunk=chunk, shard=shard)
    check_write_boxes(BlockGrid(volume, block), spec)


@pytest.mark.parametrize(
    ("block", "shard"),
    [
        ((32, 256, 256), (32, 256, 256)),
        ((50, 128, 320), (50, 128, 320)),
        ((100, 1024, 1024), (32, 1024, 1024)),  # one block spans z, so that the shard may reach past the end
        ((128, 2048, 1024), (32, 1024, 1024)),
    ],
)
def test_the_shard_is_the_block_or_an_equal_part_of_it(block, shard):
    chunk, found = default_chunks(block, (100 if block[0] == 100 else 2560, 10240, 10240))
    assert found == shard
    assert math.prod(found) <= SHARD_VOXELS
    assert all(t / 2 <= c <= t * 2 for c, t in zip(chunk, CHUNK_TARGET, strict=True))


@given(block=triples, volume=triples, chunk=triples, parts=st.tuples(*[st.integers(1, 3)] * 3))
def test_blocks_that_cut_write_units_are_refused_with_a_cure_that_works(block, volume, chunk, parts):
    shard = tuple(c * n for c, n in zip(chunk, parts, strict=True))
    spec = VolumeSpec(volume, "uint8", (1, 1, 1), chunk=chunk, shard=shard)
    grid = BlockGrid(volume, block)
    written_twice = any(b < v and b % u for b, v, u in zip(block, volume, shard, strict=True))
    if not written_twice:
        check_write_boxes(grid, spec)
        return
    with pytest.raises(VolumeError) as error:
        check_write_boxes(grid, spec)
    cure = re.search(r"Use blocks of \[(.*?)\]", str(error.value))
    check_write_boxes(BlockGrid(volume, tuple(int(n) for n in cure[1].split(","))), spec)


def test_blocks_of_another_volume_are_refused():
    with pytest.raises(VolumeError, match="cover a volume of"):
        check_write_boxes(BlockGrid((40, 50, 61), (40, 50, 61)), VolumeSpec(**GOOD))
