"""Samples how dense the graph of a volume's supervoxels will be, by which the memory of tasks is stated."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from ...pipeline.affinities.nearest import Channels, read_nearest
from ...pipeline.geometry import Box, triple
from ...pipeline.thresholds import Threshold
from ...pipeline.volumes import Volume
from ...tasks.contract import Density
from ..recipes.segmentation_recipe import Supervoxels

if TYPE_CHECKING:
    from ...pipeline.segmentation.supervoxels import Fragments

_SAMPLE = (32, 192, 192)


def sample_density(affinities: Volume, within: Box, channels: Channels, wanted: Supervoxels) -> Density | None:
    """Returns the densest of three places on the diagonal of a box, by the watershed; None where all three are empty.

    Args:
        affinities: any size; at most 3.5 M voxels are read.
        within: a box of them.
        channels: where the nearest neighbours lie in them.
        wanted: thresholds of the supervoxels.
    """
    from ...pipeline.segmentation.supervoxels import label_fragments

    shape = triple([min(v, s) for v, s in zip(within.shape, _SAMPLE, strict=True)])
    low, high = Threshold.parse(wanted.low, "low"), Threshold.parse(wanted.high, "high")
    found = []
    for quarter in (1, 2, 3):
        steps = [(v - s) * quarter // 4 for v, s in zip(within.shape, shape, strict=True)]
        place = Box.of_shape(shape, within.start).shift(steps)
        grey = read_nearest(affinities.read, place, affinities.spec.shape, channels, affinities.path)
        fragments = label_fragments(grey, Box.of_shape(shape), shape, low, high)
        if len(fragments.ids):
            found.append(_density(fragments, grey, wanted))
    return max(found, key=lambda density: density.contacts, default=None)


def _density(fragments: Fragments, affinities: npt.NDArray[np.uint8], wanted: Supervoxels) -> Density:
    """Counts the supervoxels of an array and their contacts."""
    from ...pipeline.agglomeration.block_graph import grow_leaf
    from ...pipeline.agglomeration.contacts import interior_contacts
    from ...pipeline.agglomeration.small_supervoxels import JoinRule
    from ...pipeline.segmentation.relabel import relabel

    sample = Box.of_shape(triple(fragments.labels.shape))
    contacts = interior_contacts(fragments.labels, affinities, sample, sample.shape)
    closed = np.zeros(len(fragments.ids), dtype=np.uint8)
    rule = JoinRule.parse(wanted.join_size, wanted.join_affinity)
    leaf, cluster_of = grow_leaf(fragments.ids, fragments.sizes.astype(np.int64), contacts, closed, rule)
    clusters = relabel(fragments.labels, np.concatenate([[0], cluster_of + 1]).astype(np.uint32))
    touching = np.zeros(len(leaf.ids) + 1, dtype=np.bool_)
    touching[np.concatenate([leaf.core.a, leaf.core.b]) + 1] = True
    return Density(
        len(fragments.ids) / sample.voxels,
        len(contacts) / sample.voxels,
        len(leaf.ids) / sample.voxels,
        len(leaf.core) / sample.voxels,
        max(_through(clusters, touching, axis) for axis in range(3)),
    )


def _through(labels: npt.NDArray[np.uint32], counted: npt.NDArray[np.bool_], axis: int) -> float:
    """Pairs of different counted labels that touch through a plane in the middle of an axis, for each of its voxels."""
    middle = labels.shape[axis] // 2
    before, behind = (np.take(labels, max(0, place), axis).ravel() for place in (middle - 1, middle))
    apart = (before != behind) & counted[before] & counted[behind]
    pairs = before[apart].astype(np.uint64) << np.uint64(32) | behind[apart]
    return len(np.unique(pairs)) / len(before)
