"""From what was measured while the volume doubled to a volume of any size: tasks, bytes, hours, and the octree's top.

A straight continuation, level by level: what a node passes up goes with its open surface, from the largest nodes that
were measured on (or faster, where the fit over all nodes says so); seconds and table bytes of a node go with the
contacts that it is given, and memory as in the node that was given most. Nothing is assumed to get better with size.
"""

from __future__ import annotations

import math
from typing import Any

from petavox.pipeline.agglomeration.greedy_merging import MOST_CONTACTS
from petavox.pipeline.geometry import BlockGrid, Octree, Triple

PETAVOXEL: Triple = (40_960, 156_250, 156_250)

Result = dict[str, Any]


def extrapolate(result: Result, volume: Triple = PETAVOXEL) -> Result:
    """The cost of a volume, from the result of `scale.py`: `totals`, and one row an octree level in `levels`."""
    grid = BlockGrid(volume, tuple(result["settings"]["block"]))
    levels = _levels(result, grid)
    largest, smallest = result["rows"][-1], result["rows"][0]
    upper = [row for row in result["levels"] if row["voxels"] == largest["voxels"] and row["level"]]
    voxels = math.prod(volume)

    of_upper = {name: sum(row[f"{name}_a_node"] * row["nodes"] for row in upper) for name in ("seconds", "table_bytes")}
    leaf_seconds = (largest["task_seconds"] - of_upper["seconds"]) / largest["voxels"] * voxels
    leaf_bytes = (largest["table_bytes"] - of_upper["table_bytes"]) / largest["voxels"] * voxels
    upper_seconds = sum(row["nodes"] * row["seconds"] for row in levels)
    tasks = 4 * len(grid) + 2 * sum(row["nodes"] for row in levels)  # upper levels agglomerate and assign
    row_bytes = (largest["ledger_bytes"] - smallest["ledger_bytes"]) / (largest["tasks"] - smallest["tasks"])
    totals = {
        "voxels": voxels,
        "blocks": len(grid),
        "tasks": tasks,
        "core_hours": (leaf_seconds + upper_seconds) / 3600,
        "hours_on_1000_cores_all_busy": (leaf_seconds + upper_seconds) / 3600 / 1000,
        "hours_up_the_octree_one_node_after_another": sum(row["seconds"] for row in levels) / 3600,
        "tasks_a_second_on_1000_cores": tasks / (leaf_seconds + upper_seconds) * 1000,
        "table_bytes": leaf_bytes + sum(row["nodes"] * row["table_bytes"] for row in levels),
        "ledger_bytes": tasks * row_bytes,
    }
    for name in ("affinities", "supervoxels", "segmentation"):
        totals[f"{name}_bytes"] = largest[f"{name}_bytes"] / largest["voxels"] * voxels
    return {"totals": totals, "levels": levels}


def _levels(result: Result, grid: BlockGrid) -> list[Result]:
    octree = Octree(grid)
    measured = [row for row in result["levels"] if row["level"]]
    given = sum(row["given_contacts_a_node"] * row["nodes"] for row in measured)
    cost = {
        name: sum(row[f"{name}_a_node"] * row["nodes"] for row in measured) / given
        for name in ("seconds", "table_bytes")
    }
    fullest = max(result["node_memory"], key=lambda node: node["given_contacts"])
    cost["memory"] = fullest["added"] / fullest["given_contacts"]
    rows = []
    for level in range(1, octree.height + 1):
        children = math.prod(map(min, octree.children_a_side(level), octree.shape(level - 1)))
        contacts = children * _passed_up(result, _surface(grid, level - 1))
        row = {
            "level": level,
            "nodes": math.prod(octree.shape(level)),
            "voxels": math.prod(_sides(grid, level)),
            "surface": _surface(grid, level),
            "given_contacts": contacts,
            "too_many_contacts": contacts >= MOST_CONTACTS,
        }
        rows.append(row | {name: contacts * each for name, each in cost.items()})
    return rows


def _sides(grid: BlockGrid, level: int) -> list[int]:
    """Of a node of a level that the volume does not cut."""
    return [min(b * n, v) for b, n, v in zip(grid.block, Octree(grid).spans[level], grid.volume, strict=True)]


def _surface(grid: BlockGrid, level: int) -> int:
    """Voxels on the faces of a node of a level that lies inside the volume as far as the volume allows."""
    sides = _sides(grid, level)
    return sum(2 * math.prod(sides) // side for side, v in zip(sides, grid.volume, strict=True) if side < v)


def _passed_up(result: Result, surface: int) -> float:
    opened = (row for row in result["levels"] if row["surface_a_node"])
    largest = max(opened, key=lambda row: (row["level"], row["surface_a_node"]))
    a_voxel = largest["residual_contacts_a_node"] / largest["surface_a_node"]
    growth = max(0.0, result["fit"]["exponent"] - 1)
    return a_voxel * surface * max(1.0, surface / largest["surface_a_node"]) ** growth
