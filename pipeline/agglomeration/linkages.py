"""Finds the function that merges by a rule: the one place that knows every linkage's."""

from __future__ import annotations

from functools import partial

from .greedy_merging import merge_closed
from .multicut import merge_multicut
from .octree_node import Merge
from .rules import AgglomerationRule


def merge_by(rule: AgglomerationRule) -> Merge:
    """Returns what merges the closed part of a graph by a rule, see `octree_node.Merge`."""
    if rule.linkage == "multicut":
        return partial(merge_multicut, rule=rule.multicut_rule())
    return partial(merge_closed, rule=rule.merge_rule())
