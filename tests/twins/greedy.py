"""Joining and agglomeration with fractions and a full search for the best contact before every step.

Contacts are (a, b), a < b → a list of voxel edges (affinity, edge id).
"""

from __future__ import annotations

from fractions import Fraction


def score(edges, rule, levels):
    """In [0, 1]: the mean affinity, or the quantile of affinities rounded to levels."""
    if rule.quantile is None:
        return Fraction(sum(affinity for affinity, _ in edges), 255 * len(edges))
    share = Fraction(rule.quantile.millionths, 10**6)
    rounded = [(affinity * (levels - 1) * 2 + 255) // (2 * 255) for affinity, _ in edges]
    level = next(x for x in range(levels) if sum(r <= x for r in rounded) >= share * len(edges))
    return Fraction(level, levels - 1)


def eligible(value, size_a, size_b, rule):
    smaller = min(size_a, size_b)
    passes = value >= Fraction(rule.threshold.millionths, 10**6)
    if smaller < rule.small_size:
        passes = passes or value >= Fraction(rule.small_threshold.millionths, 10**6)
    if rule.veto_size and smaller > rule.veto_size:
        passes = passes and value >= Fraction(rule.veto_threshold.millionths, 10**6)
    return passes


def merge_pair(cluster, sizes, contacts, a, b):
    """Make b part of a, in place; returns the new contacts."""
    for i, c in cluster.items():
        if c == b:
            cluster[i] = a
    sizes[a] += sizes.pop(b)
    joined = {}
    for (c, d), edges in contacts.items():
        pair = tuple(sorted(a if end == b else end for end in (c, d)))
        if pair[0] != pair[1]:
            joined[pair] = joined.get(pair, []) + edges
    return joined


def join_small(sizes, contacts, rule):
    """Follow voxel edges from the strongest down.

    Returns:
        id → smallest id of its cluster, the sizes of clusters, and the contacts between those that are large enough.
    """
    sizes, cluster = dict(sizes), {i: i for i in sizes}
    edges = sorted(((edge, pair) for pair, edges in contacts.items() for edge in edges), reverse=True)
    for (affinity, _), pair in edges:
        a, b = sorted(cluster[end] for end in pair)
        if a != b and affinity >= rule.affinity.least_affinity and min(sizes[a], sizes[b]) < rule.size:
            contacts = merge_pair(cluster, sizes, contacts, a, b)
    return cluster, sizes, {p: found for p, found in contacts.items() if min(sizes[p[0]], sizes[p[1]]) >= rule.size}


def agglomerate(sizes, contacts, rule, levels=0):
    """Merge the best eligible contact until there is none.

    Args:
        sizes: id → voxels.

    Returns:
        id → smallest id of its cluster, and the merges (a, b, score), in order.
    """
    sizes, cluster, merges = dict(sizes), {i: i for i in sizes}, []
    while True:
        candidates = []
        for pair, edges in contacts.items():
            value = score(edges, rule, levels)
            if eligible(value, sizes[pair[0]], sizes[pair[1]], rule):
                candidates.append((value, -len(edges), max(edges), pair))
        if not candidates:
            return cluster, merges
        value, _, _, (a, b) = max(candidates)
        merges.append((a, b, value))
        contacts = merge_pair(cluster, sizes, contacts, a, b)
