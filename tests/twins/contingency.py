"""Contingency tables and their scores, voxel by voxel and with fractions."""

from __future__ import annotations

import math
from collections import defaultdict
from fractions import Fraction

import numpy as np


def pairs(truth, segments, mask=None):
    """(truth, segment) → the pair's voxels, as coordinates in scan order; truth 0 is left out."""
    found = defaultdict(list)
    for voxel in np.ndindex(truth.shape):
        if truth[voxel] != 0 and (mask is None or mask[voxel]):
            found[int(truth[voxel]), int(segments[voxel])].append(voxel)
    return dict(sorted(found.items()))


def snemi3d(truth, segments):
    """(error, precision, recall) from the definition, in fractions."""
    counts = {pair: len(voxels) for pair, voxels in pairs(truth, segments).items()}
    objects = {t for t, _ in counts}
    others = {s for _, s in counts} - {0}
    singletons = Fraction(sum(counts.get((t, 0), 0) for t in objects), truth.size)
    both = sum(counts.get((t, s), 0) ** 2 for t in objects for s in others) + singletons
    in_truth = sum(sum(n for (t, _), n in counts.items() if t == a) ** 2 for a in objects)
    in_segments = sum(sum(n for (_, s), n in counts.items() if s == b) ** 2 for b in others) + singletons
    precision, recall = both / in_segments, both / in_truth
    return float(1 - 2 * precision * recall / (precision + recall)), float(precision), float(recall)


def near_a_boundary(truth, tolerance, voxel_size):
    """Where a voxel with another label beside it in the section is at most `tolerance` nm away in that section."""
    depth, height, width = truth.shape
    near = np.zeros(truth.shape, bool)
    for z in range(depth):
        section = truth[z]
        boundary = [
            (y, x)
            for y, x in np.ndindex(section.shape)
            for v, u in ((y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1))
            if 0 <= v < height and 0 <= u < width and section[v, u] != section[y, x]
        ]
        for y, x in np.ndindex(section.shape):
            near[z, y, x] = any(
                math.hypot((y - v) * voxel_size[1], (x - u) * voxel_size[2]) <= tolerance + 1e-6 for v, u in boundary
            )
    return near
