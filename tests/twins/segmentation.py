"""A whole segmentation by the slow twins."""

from __future__ import annotations

import numpy as np

from . import greedy, voxels


def segment(affinities, low, high, rules):
    """Canonical segments of a whole volume, and the merges (a, b, score) by supervoxel id, in order."""
    labels = voxels.supervoxels(affinities, low.least_affinity, high.least_affinity)
    ids, counts = np.unique(labels[labels > 0], return_counts=True)
    sizes = dict(zip(ids.tolist(), counts.tolist(), strict=True))
    joined, sizes, contacts = greedy.join_small(sizes, voxels.contacts(labels, affinities), rules.join)
    cluster, merges = greedy.agglomerate(sizes, contacts, rules.merge, rules.levels)
    total = {}
    for node, root in cluster.items():
        total[root] = total.get(root, 0) + sizes[node]
    roots = {supervoxel: cluster[node] for supervoxel, node in joined.items()}
    final = {s: root if total[root] >= rules.dust_size else 0 for s, root in roots.items()} | {0: 0}
    return np.vectorize(lambda i: final[int(i)], otypes=[np.uint64])(labels), merges
