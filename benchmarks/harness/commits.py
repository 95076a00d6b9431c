"""The commit that a result was measured at, and whether the code that it measures has changed since.

A result is older than its code where the last commit that touched the code's files is not among the ancestors of the
result's own commit.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[2]
UNKNOWN = "unknown"
DIRTY = "-dirty"

EVERYTHING = ("pipeline", "tasks", "workflows", "cluster")
_SEGMENTATION = ("pipeline/segmentation", "pipeline/agglomeration", "pipeline/union_find.py", "pipeline/thresholds.py")
_SCORES = ("pipeline/evaluation",)
_NETWORK = ("pipeline/affinities", "pipeline/networks")
MEASURED: dict[str, tuple[str, ...]] = {
    "accuracy": (*_SEGMENTATION, *_SCORES, "pipeline/segment.py"),
    "blocks": EVERYTHING,
    "blockwise": EVERYTHING,
    "chaos": EVERYTHING,
    "inference": _NETWORK,
    "ingredients": (*_NETWORK, *_SEGMENTATION, *_SCORES),
    "kernels": (*_SEGMENTATION, "pipeline/evaluation/contingency.py"),
    "memory": ("pipeline", "tasks"),
    "multicut": ("pipeline/agglomeration",),
    "noop": ("workflows/execution", "workflows/run_directory", "workflows/runs", "cluster"),
    "overhead": ("workflows", "cluster"),
    "plan": ("workflows/planning", "workflows/stages", "workflows/recipes", "tasks", "pipeline/geometry.py"),
    "scale": EVERYTHING,
    "storage_snemi3d": ("pipeline/volumes", "pipeline/tables.py", "tasks"),
    "whole": EVERYTHING,
    "waterz_chain": (*_SEGMENTATION, "pipeline/segment.py"),
}
"""The files and folders whose work a result measures, by the name of its benchmark."""


def described(root: Path = ROOT) -> str:
    """The commit of a working tree, marked where files differ from it; `UNKNOWN` where there is no git."""
    return _git(root, "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*") or UNKNOWN


def staleness(name: str, commit: str | None, root: Path = ROOT) -> str | None:
    """Why a result may say something else than its code would today; None where it would not.

    Args:
        name: of the benchmark, as `MEASURED` has it, or with a hyphen and more behind it.
        commit: at which it was measured, from `described`.
        root: of the repository.
    """
    if commit is None or commit == UNKNOWN:
        return "measured at an unknown commit"
    if commit.endswith(DIRTY):
        return f"measured with changes that {commit.removesuffix(DIRTY)} does not have"
    last = _git(root, "log", "-1", "--format=%h %cs", "--", *MEASURED[name.partition("-")[0]])
    if last is None:
        return None
    changed, _, day = last.partition(" ")
    if _git(root, "merge-base", "--is-ancestor", changed, commit) is not None:
        return None
    return f"measured at {commit}, older than its code: {changed} changed that on {day}"


def _git(root: Path, *arguments: str) -> str | None:
    """What git prints; None where it fails, or is not there."""
    try:
        done = subprocess.run(["git", "-C", root, *arguments], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()
