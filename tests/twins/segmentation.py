"""A whole segmentation by the slow twins."""

from __future__ import annotations

import numpy as np

from . import greedy, voxels


def segment(affinities, low, high, rule, dust_size=0):
    """Canonical segments of a whole volume, and the set of merges (a, b, sum, count) by supervoxel id."""
    labels = voxels.supervoxels(affinities, low.least_affinity, high.least_affinity)
    ids, counts = np.unique(labels[labels > 0], return_counts=True)
    sizes = dict(zip(ids.tolist(), counts.tolist(), strict=True))
    cluster, merges = greedy.agglomerate(sizes, voxels.contacts(labels, affinities), rule)
    total = {}
    for supervoxel, root in cluster.items():
        total[root] = total.get(root, 0) + sizes[supervoxel]
    final = {s: root if total[root] >= dust_size else 0 for s, root in cluster.items()} | {0: 0}
    return np.vectorize(lambda i: final[int(i)], otypes=[np.uint64])(labels), merges
