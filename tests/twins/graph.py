"""The contact graph of a box of a whole small volume."""

from __future__ import annotations

import numpy as np


def contact_graph(labels, contacts, segmentation, box):
    """The supervoxels that touch a box, and the contacts between them.

    Args:
        labels: canonical supervoxels of the whole volume, see `voxels.supervoxels`.
        contacts: between them, see `voxels.contacts`.
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
