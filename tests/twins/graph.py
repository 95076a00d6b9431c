"""The contact graph of a box of a whole small volume."""

from __future__ import annotations

import numpy as np

from . import greedy


def joined(labels, contacts, rule):
    """The supervoxels of a whole volume and the contacts between them, once small ones have joined."""
    ids, counts = np.unique(labels[labels > 0], return_counts=True)
    cluster, _, contacts = greedy.join_small(dict(zip(ids.tolist(), counts.tolist(), strict=True)), contacts, rule)
    return np.vectorize(lambda i: cluster.get(int(i), 0), otypes=[np.uint64])(labels), contacts


def contact_graph(labels, contacts, segmentation, box):
    """The supervoxels that touch a box, and the contacts between them.

    Args:
        labels: canonical supervoxels of the whole volume, see `joined`.
        contacts: between them, likewise.
        segmentation: of the whole volume.
        box: to look at.

    Returns:
        {id: (size, segment, first voxel)} and {(a, b), a < b: (sum, count)}.
    """
    nodes = {}
    for name in set(labels[box.slices()].ravel().tolist()) - {0}:
        places = np.argwhere(labels == name)
        first = tuple(places[0].tolist())
        nodes[name] = (len(places), int(segmentation[first]), first)
    edges = {
        pair: (sum(affinity for affinity, _ in found), len(found))
        for pair, found in contacts.items()
        if nodes.keys() >= set(pair)
    }
    return nodes, edges
