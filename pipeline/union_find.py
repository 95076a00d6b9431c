"""Disjoint sets of numbers: in an array of parents, the root of a set is its own parent."""

from __future__ import annotations

from numba import njit


@njit(nogil=True, cache=True)
def find_root(parent, i):  # type: ignore[no-untyped-def]
    """Returns the root of the set of i; the way there is halved."""
    while parent[i] != i:
        parent[i] = parent[parent[i]]
        i = parent[i]
    return i
