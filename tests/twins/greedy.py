"""Greedy agglomeration with fractions and a full search for the best contact before every merge."""

from __future__ import annotations

from fractions import Fraction


def eligible(entry, size_a, size_b, rule):
    mean = Fraction(entry[0], entry[1]) / 255
    if mean >= Fraction(rule.threshold.millionths, 10**6):
        return True
    return min(size_a, size_b) < rule.small_size and mean >= Fraction(rule.small_threshold.millionths, 10**6)


def agglomerate(sizes, contacts, rule):
    """Merge the best eligible contact until there is none.

    Args:
        sizes: id → voxels.
        contacts: (a, b), a < b → [sum, count, first].

    Returns:
        id → smallest id of its cluster, and the set of merges (a, b, sum, count).
    """
    sizes, contacts = dict(sizes), {pair: list(entry) for pair, entry in contacts.items()}
    cluster = {i: i for i in sizes}
    merges = set()
    while True:
        candidates = [
            (Fraction(entry[0], entry[1]), -entry[1], -entry[2], pair)
            for pair, entry in contacts.items()
            if eligible(entry, sizes[pair[0]], sizes[pair[1]], rule)
        ]
        if not candidates:
            return cluster, merges
        a, b = max(candidates)[-1]
        merges.add((a, b, *contacts[a, b][:2]))
        cluster = {i: a if c == b else c for i, c in cluster.items()}
        sizes[a] += sizes.pop(b)
        joined = {}
        for (c, d), (total, count, first) in contacts.items():
            pair = tuple(sorted(a if end == b else end for end in (c, d)))
            if pair[0] == pair[1]:
                continue
            entry = joined.setdefault(pair, [0, 0, first])
            joined[pair] = [entry[0] + total, entry[1] + count, min(entry[2], first)]
        contacts = joined
