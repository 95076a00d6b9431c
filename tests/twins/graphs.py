"""Small random graphs of contacts whose scores and counts tie often, and what may lie beyond the part that is known."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

from petavox.pipeline.agglomeration.contacts import Contacts, level_of_affinity

from . import rules


def contacts_of(edges, levels):
    """Contacts from (a, b) → list of voxel edges (affinity, edge id)."""
    level_of = level_of_affinity(levels)
    rows = [(a, b, sum(v for v, _ in e), len(e), max(v * 2**55 + i for v, i in e)) for (a, b), e in edges.items()]
    histogram = [np.bincount(level_of[[v for v, _ in e]], minlength=levels) for e in edges.values() if levels]
    columns = np.array(rows, dtype=np.int64).reshape(-1, 5).T
    return Contacts(*map(np.ascontiguousarray, columns), np.array(histogram, np.uint32).reshape(len(rows), levels))


@st.composite
def graphs(draw):
    """Random small graphs whose scores and counts tie often: voxel edges by pair, sizes, rules, and which are open."""
    n = draw(st.integers(2, 12))
    pairs = draw(st.lists(st.tuples(st.integers(0, n - 1), st.integers(0, n - 1)), max_size=40))
    pairs = sorted({(min(p), max(p)) for p in pairs if p[0] != p[1]})
    grey = np.linspace(0, 255, draw(st.sampled_from([2, 4, 8, 256]))).round().astype(int)
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    ids = iter(rng.permutation(4 * len(pairs)).tolist())
    edges = {pair: [(int(rng.choice(grey)), next(ids)) for _ in range(rng.integers(1, 5))] for pair in pairs}
    return edges, rng.integers(1, 6, n), draw(rules()), rng.random(n) < draw(st.sampled_from([0.1, 0.3]))


@st.composite
def beyond(draw, graph):
    """The graph with more nodes, and with contacts of open nodes that were not known; open nodes may also be larger."""
    edges, sizes, _, is_open = graph
    n, more = len(sizes), draw(st.integers(1, 4))
    ends = [*np.flatnonzero(is_open).tolist(), *range(n, n + more)]
    pairs = draw(st.sets(st.tuples(st.sampled_from(ends), st.sampled_from(ends)), max_size=12))
    together = {pair: list(found) for pair, found in edges.items()}
    for number, (a, b) in enumerate(sorted(pairs)):
        if a < b:
            together.setdefault((a, b), []).append((draw(st.sampled_from([0, 85, 170, 255])), 1000 + number))
    larger = [int(s) + (draw(st.integers(0, 9)) if o else 0) for s, o in zip(sizes, is_open, strict=True)]
    return dict(sorted(together.items())), dict(enumerate(larger + [3] * more))
