"""Slow, obviously right versions of the fast kernels, and the small random volumes on which both are compared."""

from dataclasses import dataclass

import numpy as np
from hypothesis import strategies as st

from petavox.pipeline.agglomeration.rules import MergeRule
from petavox.pipeline.agglomeration.small_supervoxels import JoinRule
from petavox.pipeline.geometry import Box, Triple
from petavox.pipeline.thresholds import Threshold


@dataclass(frozen=True)
class Case:
    """A small affinity volume and how to cut and threshold it."""

    affinities: np.ndarray
    block: Triple
    low: Threshold
    high: Threshold
    seed: int
    large: int  # octree nodes of so many voxels have two children


@st.composite
def volumes_and_blocks(draw, largest=6):
    """Random affinities of 2, 4, 8 or 256 grey levels, down to one voxel thick, and blocks that may not divide them."""
    side = st.integers(1, largest)
    shape = draw(st.tuples(side, side, side))
    block = draw(st.tuples(*(st.integers(1, s) for s in shape)))
    levels = draw(st.sampled_from([2, 4, 8, 256]))
    seed = draw(st.integers(0, 2**32 - 1))
    grey = np.linspace(0, 255, levels).round().astype(np.uint8)
    affinities = np.random.default_rng(seed).choice(grey, size=(3, *shape))
    low, high = sorted(draw(st.tuples(*[st.integers(0, 1000)] * 2)))
    large = draw(st.sampled_from([1, 40, 1 << 36]))
    return Case(affinities, block, Threshold(low * 1000), Threshold(high * 1000), seed, large)


@st.composite
def regions(draw, volume):
    """A box inside a volume, of a voxel or more."""
    start = [draw(st.integers(0, length - 1)) for length in volume]
    return Box(tuple(start), tuple(draw(st.integers(a + 1, n)) for a, n in zip(start, volume, strict=True)))


@dataclass(frozen=True)
class Rules:
    """All that turns supervoxels into segments."""

    join: JoinRule
    merge: MergeRule
    levels: int
    dust_size: int


@st.composite
def rules(draw):
    """Rules that matter in volumes of a few hundred voxels."""
    decimals = st.integers(0, 1000).map(lambda n: Threshold(n * 1000))
    sizes = st.just(0) | st.integers(0, 30)
    quantile = draw(st.none() | decimals)
    merge = MergeRule(draw(decimals), draw(sizes), draw(decimals), draw(sizes), draw(decimals), quantile)
    levels = 0 if quantile is None else draw(st.sampled_from([2, 5, 64, 256]))
    join = JoinRule(draw(sizes), draw(decimals))
    return Rules(join, merge, levels, draw(st.integers(0, 6)))
