"""The whole way from affinities to segments for arrays that fit in memory: one block, nothing stored.

1. `oversegment` labels supervoxels and sums up the contacts between them.
2. `SegmentGraph` holds the supervoxels, after small ones have joined, and their contacts.
3. `falling_thresholds` merges that graph by many rules, each with its contingency table, without touching a voxel
   again.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any, TypeVar, get_args

import numpy as np
import numpy.typing as npt

from .affinities.nearest import quantise
from .agglomeration.block_graph import grow_leaf
from .agglomeration.contacts import Contacts, Int64s, interior_contacts
from .agglomeration.linkages import merge_by
from .agglomeration.rules import AgglomerationRule, Thresholded
from .agglomeration.small_supervoxels import JoinRule
from .errors import AffinityError, RequestError
from .evaluation.contingency import Contingency, Labels, count
from .evaluation.scores import Scores, score
from .geometry import Box, triple
from .segmentation.relabel import relabel
from .segmentation.supervoxels import Fragments, label_fragments
from .thresholds import Decimals, Threshold

Rule = TypeVar("Rule", bound=AgglomerationRule)


def segment(
    affinities: npt.NDArray[Any],
    *,
    low: Decimals = "0.02",
    high: Decimals = "0.9999",
    join_size: int = 100,
    join_affinity: Decimals = "0.3",
    linkage: Thresholded = "mean",
    quantile: Decimals = "0.85",
    levels: int = 64,
    threshold: Decimals = "0.5",
    small_size: int = 0,
    small_threshold: Decimals = "0.3",
    veto_size: int = 0,
    veto_threshold: Decimals = "0.8",
    dust_size: int = 0,
) -> npt.NDArray[np.uint64]:
    """Segment affinities in memory: bit for bit what a blockwise run gives.

        >>> affinities = petavox.open_run("runs/recipe").affinities[:]
        >>> labels = petavox.segment(affinities, low=0.05, high=0.95, threshold=0.3)
        >>> labels.shape, labels.dtype
        ((16, 128, 128), dtype('uint64'))

    Args:
        affinities: (3, Z, Y, X), uint8 or floats in [0, 1]; channel 0, 1, 2 at voxel p is the edge between p and the
            voxel before it along z, y, x.
        low: a voxel whose every edge is below this is background.
        high: edges that pass this join supervoxels.
        join_size, join_affinity: supervoxels with fewer voxels join the neighbour behind their strongest edge, if that
            passes the second; 0: none do.
        linkage: how contacts are scored: their mean affinity, or a quantile of their affinities.
        quantile: share of a contact's affinities that lie at its score or below, for linkage "quantile".
        levels: number of levels that affinities are rounded to, for linkage "quantile".
        threshold: contacts that pass this are merged.
        small_size, small_threshold: segments with fewer voxels are merged already over contacts that pass the second.
        veto_size, veto_threshold: two segments with more voxels each are merged only over contacts that pass the
            second; 0: no such rule.
        dust_size: segments with fewer voxels become background at the end.

    Returns:
        (Z, Y, X) uint64; a segment's id is 1 + the smallest linear index of its voxels, 0 is background.

    Raises:
        AffinityError: another shape or type, NaN, or values outside [0, 1].
        RequestError: a threshold is no decimal in [0, 1], low is above high, or there are 2³¹ voxels or more.
    """
    if linkage not in get_args(Thresholded):
        raise RequestError(f"linkage must be {' or '.join(map(repr, get_args(Thresholded)))}; found {linkage!r}.")
    rule = AgglomerationRule.of(
        linkage=linkage,
        quantile=quantile,
        levels=levels,
        threshold=threshold,
        small_size=small_size,
        small_threshold=small_threshold,
        veto_size=veto_size,
        veto_threshold=veto_threshold,
        dust_size=dust_size,
    )
    limits = Threshold.parse(low, "low"), Threshold.parse(high, "high")
    return segment_by(affinities, *limits, JoinRule.parse(join_size, join_affinity), rule)


def segment_by(
    affinities: npt.NDArray[Any], low: Threshold, high: Threshold, join: JoinRule, rule: AgglomerationRule
) -> npt.NDArray[np.uint64]:
    """Segments affinities in memory by rules; see `segment`."""
    if affinities.ndim != 4 or affinities.shape[0] != 3:
        raise AffinityError(f"Affinities need the shape (3, Z, Y, X), channels z, y, x; found {affinities.shape}.")
    grey = quantise(affinities, "the array")
    fragments, contacts = oversegment(grey, low, high, rule.histogram_levels)
    graph = SegmentGraph.of_fragments(fragments, contacts, join)
    del contacts
    return relabel(fragments.labels, graph.segments(rule))


def oversegment(
    affinities: npt.NDArray[np.uint8], low: Threshold, high: Threshold, levels: int = 0
) -> tuple[Fragments, Contacts]:
    """Returns the supervoxels of an array, before any small one joins, and the contacts between them.

    Args:
        affinities: (3, Z, Y, X), see `segment`.
        low, high: see there.
        levels: levels of the contacts' histograms; 0 for none.

    Raises:
        RequestError: low is above high, or there are 2³¹ voxels or more.
    """
    grey = np.ascontiguousarray(affinities)
    volume = triple(grey.shape[1:])
    box = Box.of_shape(volume)
    fragments = label_fragments(grey, box, volume, low, high)
    return fragments, interior_contacts(fragments.labels, grey, box, volume, levels)


@dataclass(frozen=True)
class SegmentGraph:
    """Holds the segments of an array, as far as supervoxels have been merged, and the contacts between them.

    Merging by one threshold and then by a lower one gives what merging by the lower one gives: the best eligible
    contact is always merged first. So a row of falling thresholds costs little more than the first of them.

    Args:
        segment_of: (n,) for each fragment the index of its segment.
        ids: (m,) 1 + the smallest linear index of each segment's voxels; increasing.
        sizes: (m,) int64 voxels of each.
        contacts: between segments, by their index.
    """

    segment_of: Int64s
    ids: npt.NDArray[np.uint64]
    sizes: Int64s
    contacts: Contacts

    @classmethod
    def of_fragments(cls, fragments: Fragments, contacts: Contacts, join: JoinRule) -> SegmentGraph:
        """Returns the graph in which nothing is merged, but small fragments have joined their neighbours."""
        closed = np.zeros(len(fragments.ids), dtype=np.uint8)
        leaf, cluster_of = grow_leaf(fragments.ids, fragments.sizes.astype(np.int64), contacts, closed, join)
        return cls(cluster_of, leaf.ids, leaf.sizes, leaf.core)

    def merged(self, rule: AgglomerationRule) -> SegmentGraph:
        """Returns the graph after every merge that a rule allows; this one stays as it is."""
        place, ids, sizes = self._merge(rule)
        return SegmentGraph(place[self.segment_of], ids, sizes, self.contacts.renamed(place))

    def segments(self, rule: AgglomerationRule) -> npt.NDArray[np.uint64]:
        """Returns (n + 1,) the segment that a rule makes of each label; 0 of label 0 and of dust."""
        place, ids, sizes = self._merge(rule)
        kept = np.where(sizes < rule.dust_size, np.uint64(0), ids)
        return np.concatenate([np.zeros(1, dtype=np.uint64), kept[place[self.segment_of]]])

    def _merge(self, rule: AgglomerationRule) -> tuple[Int64s, npt.NDArray[np.uint64], Int64s]:
        """For each segment the index of the one that it becomes a part of; the ids and the sizes of these."""
        closed = np.zeros(len(self.ids), dtype=np.bool_)
        node = merge_by(rule)(self.contacts, self.sizes, closed, closed).node
        roots = np.flatnonzero(node == np.arange(len(node)))
        place = np.empty(len(node), dtype=np.int64)
        place[roots] = np.arange(len(roots))
        place = place[node]
        sizes = np.zeros(len(roots), dtype=np.int64)
        np.add.at(sizes, place, self.sizes)
        return place, self.ids[roots], sizes

    def as_fragments(self, table: Contingency) -> tuple[SegmentGraph, Contingency]:
        """Returns the graph whose fragments are this graph's segments, numbered from 1, and the table of them.

        Args:
            table: table of the truth and the labels of this graph's fragments.
        """
        number_of = self.segment_of.astype(np.uint64) + np.uint64(1)
        graph = replace(self, segment_of=np.arange(len(self.ids)))
        return graph, table.of_coarser_segments(np.concatenate([np.zeros(1, dtype=np.uint64), number_of]))


def falling_thresholds(
    graph: SegmentGraph, table: Contingency, rules: Iterable[Rule]
) -> Iterator[tuple[Rule, Contingency]]:
    """Yields the contingency table that each rule gives on a graph, the highest threshold first.

    Each rule goes on from the graph and the table that the rule before has left:

        >>> affinities = np.full((3, 1, 1, 6), 204, np.uint8)  # a row of six voxels: three supervoxels of two each
        >>> affinities[2, 0, 0, 2], affinities[2, 0, 0, 4] = 128, 90  # and the two contacts between them
        >>> fragments, contacts = oversegment(affinities, Threshold.parse("0.1"), Threshold.parse("0.9"))
        >>> graph = SegmentGraph.of_fragments(fragments, contacts, JoinRule.parse(0, "0"))
        >>> table = count(np.ones((1, 1, 6), np.uint64), fragments.labels)
        >>> rules = [AgglomerationRule.of(threshold=threshold) for threshold in ("0.3", "0.4", "0.9")]
        >>> [(str(rule.threshold), len(cut)) for rule, cut in falling_thresholds(graph, table, rules)]
        [('0.9', 3), ('0.4', 2), ('0.3', 1)]

    Args:
        graph: graph in which nothing is merged.
        table: table of the truth and the labels of the graph's fragments.
        rules: rules with thresholds that differ in `threshold`, `small_size` and `small_threshold` alone.
    """
    ordered = sorted(rules, key=lambda rule: rule.threshold, reverse=True)
    if not any(rule.histogram_levels for rule in ordered):  # histograms would be renamed at every step, for nothing
        graph = replace(graph, contacts=replace(graph.contacts, histogram=graph.contacts.histogram[:, :0]))
    for rule in ordered:
        graph, table = graph.merged(rule.model_copy(update={"small_size": 0})).as_fragments(table)
        # The small rule's merges are not kept for a lower threshold: they would come after that one's own merges.
        yield rule, table.of_coarser_segments(graph.segments(rule))


def scores_at(
    thresholds: Iterable[Decimals],
    affinities: npt.NDArray[np.uint8],
    truth: Labels,
    *,
    low: Decimals,
    high: Decimals,
    join_size: int,
    join_affinity: Decimals,
) -> tuple[Scores, ...]:
    """Returns the scores of segmentations by mean affinity, for each threshold, the highest first.

    Args:
        thresholds: thresholds of agglomeration.
        affinities: (3, Z, Y, X), see `segment`.
        truth: (Z, Y, X); 0 is not scored.
        low, high, join_size, join_affinity: see `segment`.

    Raises:
        RequestError: a threshold is no decimal in [0, 1], or low is above high.
        VolumeError: nothing has a truth label.
    """
    fragments, contacts = oversegment(affinities, Threshold.parse(low, "low"), Threshold.parse(high, "high"))
    join = JoinRule.parse(join_size, join_affinity)
    table = count(truth, fragments.labels)
    rules = [AgglomerationRule.of(threshold=threshold) for threshold in thresholds]
    merged = falling_thresholds(SegmentGraph.of_fragments(fragments, contacts, join), table, rules)
    return tuple(score(found) for _, found in merged)
