import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from petavox.pipeline.affinities.maximin import pairs_decided
from petavox.pipeline.affinities.offsets import NEAREST
from petavox.pipeline.affinities.targets import MASKED, UNKNOWN, affinity_targets


def pairs_decided_set_by_set(affinities, targets, labels):
    """Edges from the strongest down; where two sets meet, all pairs of a voxel of either are counted."""
    order = sorted(np.ndindex(affinities.shape), key=lambda edge: -affinities[edge])
    sets = {voxel: {voxel} for voxel in np.ndindex(labels.shape)}
    found = []
    for target, same in ((1, True), (0, False)):
        counts = np.zeros(affinities.shape)
        for edge in (edge for edge in order if targets[edge] == target):
            here = edge[1:]
            there = tuple(p - o for p, o in zip(here, NEAREST[edge[0]], strict=True))
            a, b = sets[here], sets[there]
            if a is b:
                continue
            counts[edge] = sum(
                (labels[p] == labels[q]) == same for p in a for q in b if labels[p] > 0 and labels[q] > 0
            )
            both = a | b
            sets |= dict.fromkeys(both, both)
        found.append(counts / max(1, counts.sum()))
    return found


@st.composite
def cases(draw):
    shape = (2, 3, 4)
    labels = draw(arrays.arrays(np.int32, shape, elements=st.sampled_from([UNKNOWN, 0, 1, 1, 1, 2, 2, 3])))
    # Few values, so that ties are met.
    affinities = draw(arrays.arrays(np.float32, (3, *shape), elements=st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0])))
    return affinities, affinity_targets(torch.from_numpy(labels), NEAREST).numpy(), labels


@settings(max_examples=200, deadline=None)
@given(cases())
def test_pairs_are_those_of_sets_that_grow_edge_by_edge(case):
    for found, expected in zip(pairs_decided(*case), pairs_decided_set_by_set(*case), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-6, atol=0)


def test_the_one_hole_in_a_wall_decides_every_pair_across_it():
    labels = np.repeat([1, 1, 0, 2, 2], 3)[None, None].astype(np.int32).repeat(6, 1)
    affinities = np.ones((3, *labels.shape), np.float32)
    affinities[2, :, :, 6:10] = 0.1
    affinities[2, 0, 3, 6:10] = 0.6, 0.9, 0.8, 0.7
    targets = affinity_targets(torch.from_numpy(labels), NEAREST).numpy()
    between = pairs_decided(affinities, targets, labels)[1]
    assert between[2, 0, 3, 6] == 1
    assert between.sum() == 1


def test_edges_of_unknown_end_decide_nothing():
    labels = np.full((2, 3, 4), UNKNOWN, np.int32)
    targets = np.full((3, *labels.shape), MASKED, np.uint8)
    assert not any(shares.any() for shares in pairs_decided(np.ones(targets.shape, np.float32), targets, labels))
