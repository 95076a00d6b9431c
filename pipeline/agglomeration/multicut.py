"""Multicut of a contact graph, and its hierarchical blockwise approximation up the octree.

Every contact has a cost: positive pulls its two ends together, negative keeps them apart. The multicut is the partition
that cuts the least total cost (Andres et al. 2011). To find it is NP-hard, so that a solution over blocks is not the
solution of the whole volume: unlike the other linkages, this one depends on the blocks. For given blocks it is the same
in any order of work and on any number of workers.

The scheme follows Pape et al. 2017 (Solving large multicut problems for connectomics via domain decomposition): each
node of the octree solves the graph that it is given, joins part of what the solution joins, and passes the smaller
graph up, where the contacts between the same two clusters are one. What is joined, and what waits:

1. Open nodes take part in the solution, so that what lies beside them is pulled by them too, but nothing is joined to
   them before all their contacts are known: a fragment that the block cuts off says too little.
2. Closed nodes that the solution joins are joined, along attractive contacts only.
3. A cluster that no chain of attractive contacts ties to an open one is final: contacts that are repulsive stay so when
   they are added up.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from ..union_find import find_root
from .contacts import Contacts, Int64s
from .greedy_merging import Bools, Merges
from .rules import MulticutRule, Solver

Costs = npt.NDArray[np.float64]
_EXTREME = 1e-3  # of a probability: a mean affinity of 0 or 1 still has a finite cost


def costs(contacts: Contacts, rule: MulticutRule) -> Costs:
    """Returns the cost of each contact: log(p / (1 − p)) + log((1 − bias) / bias), p its mean affinity in [0, 1].

    Positive costs attract. p is clipped to [0.001, 0.999].
    """
    p = np.clip(contacts.sum / (255 * contacts.count), _EXTREME, 1 - _EXTREME)
    each: Costs = np.log(p / (1 - p)) + np.log((1 - rule.bias) / rule.bias)
    return each * contacts.count if rule.by_size else each


def energy(contacts: Contacts, labels: npt.NDArray[Any], rule: MulticutRule) -> float:
    """Returns the objective of a partition: the total cost of the contacts that it cuts; less is better.

    Args:
        contacts: between nodes 0…n − 1.
        labels: (n,) the cluster of each node.
    """
    cut = labels[contacts.a] != labels[contacts.b]
    return float(costs(contacts, rule)[cut].sum())


def solve(contacts: Contacts, nodes: int, rule: MulticutRule) -> Int64s:
    """Returns a partition of low energy: (nodes,) the cluster of each node. The same graph gives the same partition."""
    return _solve(contacts, costs(contacts, rule), nodes, rule.solver)


def merge_multicut(contacts: Contacts, sizes: Int64s, is_open: Bools, unsure: Bools, rule: MulticutRule) -> Merges:
    """Solve a region's graph and join what can be joined there; see `octree_node.Merge`.

    The merges tell how segments came about. Their scores order no other partitions: another bias is another problem.

    Args:
        contacts: between nodes 0…n − 1, each pair once.
        sizes: (n,) voxels of each node; they play no role.
        is_open: (n,) whether a node reaches beyond what is known.
        unsure: (n,) open nodes that must not grow here; none does.
        rule: costs and solver.
    """
    weights = costs(contacts, rule)
    cluster = _solve(contacts, weights, len(is_open), rule.solver)
    closed = ~(is_open[contacts.a] | is_open[contacts.b])
    joined = np.flatnonzero(closed & (weights > 0) & (cluster[contacts.a] == cluster[contacts.b]))
    # The strongest first, so that the merges are those of a maximum spanning forest.
    joined = joined[np.argsort(-weights[joined], kind="stable")]
    node, steps, over = _unite(contacts.a[joined], contacts.b[joined], len(is_open))
    over = joined[over]
    merged = contacts.renamed(node)
    return Merges(
        node=node,
        undecided=_tied_to_open(merged, costs(merged, rule), is_open)[node],
        name=node,
        a=steps[0],
        b=steps[1],
        score=contacts.sum[over],
        scale=contacts.count[over],
    )


def _solve(contacts: Contacts, weights: Costs, nodes: int, solver: Solver) -> Int64s:
    """The solver's partition. What attractive contacts do not tie together never joins: each such part by itself."""
    attracting = weights > 0
    if not attracting.any():
        return np.arange(nodes)
    from bioimage_cpp.graph import UndirectedGraph, multicut

    part = _components(contacts.select(attracting), nodes)
    inside = np.flatnonzero(part[contacts.a] == part[contacts.b])
    inside = inside[np.lexsort((contacts.b[inside], contacts.a[inside]))]
    ends, dense = np.unique(np.stack([contacts.a[inside], contacts.b[inside]], axis=1), return_inverse=True)
    graph = UndirectedGraph.from_unique_edges(len(ends), dense.reshape(-1, 2).astype(np.uint64))
    objective = multicut.MulticutObjective(graph, weights[inside])
    if solver == "greedy-additive":
        optimizer = multicut.GreedyAdditiveMulticut()
    elif solver == "kernighan-lin":
        optimizer = multicut.MulticutDecomposer(multicut.KernighanLinMulticut(), number_of_threads=1)
    else:
        proposals = multicut.GreedyAdditiveProposalGenerator(seed=0)
        optimizer = multicut.FusionMoveMulticut(proposal_generator=proposals, number_of_threads=1)
    cluster = np.arange(nodes)
    found = optimizer.optimize(objective)
    # Clusters are named by one of their nodes, which keeps them apart from the nodes that were not asked.
    _, first, dense = np.unique(found, return_index=True, return_inverse=True)
    cluster[ends] = ends[first[dense]]
    return cluster


def _components(contacts: Contacts, nodes: int) -> Int64s:
    graph = coo_array((np.ones(len(contacts), dtype=np.int8), (contacts.a, contacts.b)), shape=(nodes, nodes))
    part: Int64s = connected_components(graph, directed=False)[1].astype(np.int64)
    return part


def _tied_to_open(contacts: Contacts, weights: Costs, is_open: Bools) -> Bools:
    """Marks the nodes that are open, or that a chain of attractive contacts ties to an open node."""
    part = _components(contacts.select(weights > 0), len(is_open))
    reached = np.zeros(len(is_open), dtype=np.bool_)
    reached[part[is_open]] = True
    tied: Bools = reached[part]
    return tied


@njit(nogil=True, cache=True)
def _unite(a, b, n):  # type: ignore[no-untyped-def]
    """Join pairs in their order; gives each node its smallest companion, the joins (smaller, larger), their pairs."""
    parent = np.arange(n)
    steps = np.empty((2, a.size), dtype=np.int64)
    over = np.empty(a.size, dtype=np.int64)
    count = 0
    for i in range(a.size):
        u, v = find_root(parent, a[i]), find_root(parent, b[i])
        if u != v:
            low, high = min(u, v), max(u, v)
            parent[high] = low
            steps[0, count], steps[1, count] = low, high
            over[count] = i
            count += 1
    for i in range(n):
        parent[i] = parent[parent[i]]  # a parent is smaller, and done
    return parent, steps[:, :count], over[:count]
