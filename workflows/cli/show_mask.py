"""Tells of a mask of tissue: in a few lines for people, in plain values for `--json`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..volumes.tissue_mask import TissueMask


def mask_text(mask: TissueMask) -> str:
    """Tells how much tissue was found, what decided, and what to do where that is wrong."""
    level = "" if mask.level is None else f" of level {mask.level}"
    size = " × ".join(f"{length:g}" for length in mask.spec.voxel_size)
    shape = " × ".join(map(str, mask.spec.shape))
    if mask.threshold is None:
        by = "all cells have about as much structure, so all that hold image count; --threshold says otherwise"
    else:
        by = f"cells with at least {mask.threshold:.3g} grey levels of structure; another --threshold changes that"
    return (
        f"{mask.share:.1%} tissue: {by}.\n"
        f"{mask.path}: {shape} cells of {size} nm (z, y, x), each {list(mask.cell)} voxels{level}."
    )


def mask_json(mask: TissueMask) -> dict[str, Any]:
    """Gives a mask as plain values; lengths in nm."""
    return {
        "path": str(mask.path),
        "share": mask.share,
        "threshold": mask.threshold,
        "level": mask.level,
        "cell": list(mask.cell),
        "shape": list(mask.spec.shape),
        "voxel_size": list(mask.spec.voxel_size),
        "translation": list(mask.spec.translation),
    }
