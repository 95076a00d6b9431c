"""Segmenting in memory equals the slow twin; wrong arrays are refused."""

import doctest
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import petavox
from petavox.pipeline import segment
from petavox.pipeline.agglomeration.rules import AgglomerationRule
from petavox.pipeline.errors import AffinityError, RequestError
from petavox.pipeline.evaluation.contingency import count
from petavox.pipeline.segment import SegmentGraph, falling_thresholds, oversegment
from petavox.pipeline.thresholds import SCALE, Threshold
from twins import rules, segmentation, volumes_and_blocks


def as_asked_for(rules):
    """The rule as people state it."""
    merge = rules.merge
    return AgglomerationRule.of(
        linkage="mean" if merge.quantile is None else "quantile",
        quantile="0.5" if merge.quantile is None else str(merge.quantile),
        levels=rules.levels or 64,
        threshold=str(merge.threshold),
        small_size=merge.small_size,
        small_threshold=str(merge.small_threshold),
        veto_size=merge.veto_size,
        veto_threshold=str(merge.veto_threshold),
        dust_size=rules.dust_size,
    )


@settings(deadline=None, max_examples=150)
@given(volumes_and_blocks(), rules())
def test_segmenting_in_memory_equals_the_slow_twin(case, rules):
    assume(rules.merge.quantile != Threshold(0))  # refused, as in recipes
    limits = {"low": str(case.low), "high": str(case.high)}
    join = {"join_size": rules.join.size, "join_affinity": str(rules.join.affinity)}
    wanted = as_asked_for(rules).model_dump(exclude={"bias", "by_size", "solver"})
    found = petavox.segment(case.affinities, **limits, **join, **wanted)
    expected, _ = segmentation.segment(case.affinities, case.low, case.high, rules)
    assert np.array_equal(found, expected)


def test_floats_are_quantised_once_on_entry():
    grey = np.random.default_rng(0).integers(0, 256, (3, 4, 5, 6), dtype=np.uint8)
    assert np.array_equal(petavox.segment(grey), petavox.segment((grey / 255).astype(np.float32)))


@pytest.mark.parametrize("value", [np.nan, -0.1, 1.5, np.inf])
def test_floats_outside_the_unit_interval_are_refused(value):
    affinities = np.full((3, 2, 2, 2), 0.5)
    affinities[1, 0, 1, 0] = value
    with pytest.raises(AffinityError, match=r"must lie in \[0, 1\] without NaN"):
        petavox.segment(affinities)


def test_other_shapes_and_types_are_refused():
    with pytest.raises(AffinityError, match="need the shape"):
        petavox.segment(np.zeros((2, 3, 3, 3), np.uint8))
    with pytest.raises(AffinityError, match="holds int32"):
        petavox.segment(np.zeros((3, 3, 3, 3), np.int32))
    with pytest.raises(RequestError, match="at most six places"):
        petavox.segment(np.zeros((3, 3, 3, 3), np.uint8), threshold=1.5)
    with pytest.raises(RequestError, match=r"quantile .* greater than 0; found"):
        petavox.segment(np.zeros((3, 3, 3, 3), np.uint8), linkage="quantile", quantile=0)
    with pytest.raises(RequestError, match="linkage must be 'mean' or 'quantile'; found 'multicut'"):
        petavox.segment(np.zeros((3, 3, 3, 3), np.uint8), linkage="multicut")


@settings(deadline=None, max_examples=50)
@given(volumes_and_blocks(), rules(), st.lists(st.tuples(st.integers(0, 20), st.booleans()), min_size=1, max_size=4))
def test_falling_thresholds_give_what_each_rule_gives_alone(case, rules, tried):
    fragments, contacts = oversegment(case.affinities, case.low, case.high, rules.levels)
    graph = SegmentGraph.of_fragments(fragments, contacts, rules.join)
    assume(rules.merge.quantile != Threshold(0))
    small = rules.merge.small_size
    rows = [replace(rules.merge, threshold=Threshold(k * SCALE // 20), small_size=small * on) for k, on in tried]
    wanted = {as_asked_for(replace(rules, merge=row)): row for row in rows}
    every_voxel = np.arange(1, fragments.labels.size + 1).reshape(fragments.labels.shape)
    table = count(every_voxel, fragments.labels)
    for rule, found in falling_thresholds(graph, table, wanted):
        expected, _ = segmentation.segment(case.affinities, case.low, case.high, replace(rules, merge=wanted[rule]))
        assert np.array_equal(found.segment, expected.ravel())


def test_the_example_of_falling_thresholds_does_what_it_says():
    (example,) = doctest.DocTestFinder().find(falling_thresholds, globs=vars(segment))
    said: list[str] = []
    assert doctest.DocTestRunner(verbose=False).run(example, out=said.append) == (0, 7), said
