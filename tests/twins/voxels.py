"""Supervoxels and contacts of a whole small volume, voxel by voxel."""

from __future__ import annotations

import itertools
from collections import defaultdict

import numpy as np


def linear_index(p, shape):
    return (p[0] * shape[1] + p[1]) * shape[2] + p[2]


def voxel_edges(affinities):
    """Every voxel edge: (affinity, canonical edge id, voxel, voxel before it)."""
    shape = affinities.shape[1:]
    for p in itertools.product(*map(range, shape)):
        for channel in range(3):
            before = tuple(v - (axis == channel) for axis, v in enumerate(p))
            if min(before) >= 0:
                yield int(affinities[(channel, *p)]), 3 * linear_index(p, shape) + channel, p, before


class DisjointSets(dict):
    """Sets named by their smallest member."""

    def __missing__(self, key):
        return key

    def find(self, key):
        while self[key] != key:
            key = self[key]
        return key

    def unite(self, a, b):
        a, b = sorted((self.find(a), self.find(b)))
        self[b] = a


def supervoxels(affinities, least_low, least_high):
    """Canonical supervoxel ids of a whole volume: (Z, Y, X) uint64."""
    shape = affinities.shape[1:]
    best = {}
    for affinity, edge, p, q in voxel_edges(affinities):
        if affinity >= least_low:
            for end in (p, q):
                best[end] = max(best.get(end, (-1, -1)), (affinity, edge))
    sets, foreground = DisjointSets(), set()
    for affinity, edge, p, q in voxel_edges(affinities):
        if affinity >= least_high or (affinity, edge) in (best.get(p), best.get(q)):
            sets.unite(linear_index(p, shape), linear_index(q, shape))
            foreground.update((p, q))
    labels = np.zeros(shape, dtype=np.uint64)
    for p in foreground:
        labels[p] = 1 + sets.find(linear_index(p, shape))
    return labels


def contacts(labels, affinities):
    """(a, b) with a < b → every voxel edge between two supervoxels, as (affinity, edge id)."""
    table = defaultdict(list)
    for affinity, edge, p, q in voxel_edges(affinities):
        a, b = sorted((int(labels[p]), int(labels[q])))
        if a and a != b:
            table[a, b].append((affinity, edge))
    return dict(table)
