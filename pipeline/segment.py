"""The whole way from affinities to segments for arrays that fit in memory: one block, nothing stored."""

from __future__ import annotations

from decimal import Decimal
from functools import partial
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from .affinities.nearest import quantise
from .agglomeration.contacts import interior_contacts
from .agglomeration.joining import JoinRule
from .agglomeration.leaves import as_region, grow_leaf
from .agglomeration.linkage import MergeRule, merge_closed
from .agglomeration.regions import decide
from .errors import AffinityError, RequestError
from .geometry import Box, triple
from .segmentation.relabel import relabel
from .segmentation.supervoxels import label_fragments
from .thresholds import Threshold

Decimals = Decimal | float | str


def segment(
    affinities: npt.NDArray[Any],
    *,
    low: Decimals = "0.02",
    high: Decimals = "0.9999",
    join_size: int = 100,
    join_affinity: Decimals = "0.3",
    linkage: Literal["mean", "quantile"] = "mean",
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

    Args:
        affinities: (3, Z, Y, X), uint8 or floats in [0, 1]; channel 0, 1, 2 at voxel p is the edge between p and the
            voxel before it along z, y, x.
        low: a voxel whose every edge is below this is background.
        high: edges that pass this join supervoxels.
        join_size, join_affinity: supervoxels with fewer voxels join the neighbour behind their strongest edge, if that
            passes the second; 0: none do.
        linkage: how contacts are scored: their mean affinity, or a quantile of their affinities.
        quantile, levels: which quantile, of affinities rounded to that many levels.
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
    if linkage not in ("mean", "quantile"):
        raise RequestError(f"linkage must be 'mean' or 'quantile'; found {linkage!r}.")
    if affinities.ndim != 4 or affinities.shape[0] != 3:
        raise AffinityError(f"Affinities need the shape (3, Z, Y, X), channels z, y, x; found {affinities.shape}.")
    grey = np.ascontiguousarray(quantise(affinities, "the array"))
    volume = triple(grey.shape[1:])
    box = Box.of_shape(volume)
    fragments = label_fragments(grey, box, volume, Threshold.parse(low, "low"), Threshold.parse(high, "high"))
    contacts = interior_contacts(fragments.labels, grey, box, volume, levels if linkage == "quantile" else 0)
    join = JoinRule(join_size, Threshold.parse(join_affinity, "join_affinity"))
    rule = MergeRule(
        Threshold.parse(threshold, "threshold"),
        small_size,
        Threshold.parse(small_threshold, "small_threshold"),
        veto_size,
        Threshold.parse(veto_threshold, "veto_threshold"),
        Threshold.parse(quantile, "quantile") if linkage == "quantile" else None,
    )
    closed = np.zeros(len(fragments.ids), dtype=np.uint8)
    leaf, cluster_of = grow_leaf(fragments.ids, fragments.sizes.astype(np.int64), contacts, closed, join)
    del contacts
    region, placement = as_region(leaf, {})
    decision = decide([region], [], join, partial(merge_closed, rule=rule), dust_size)
    segments = decision.target[placement.place[cluster_of]]
    return relabel(fragments.labels, np.concatenate([np.zeros(1, dtype=np.uint64), segments]))
