"""Prints the list of `petavox models`."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import RenderableType

    from ..models.catalogue import Entry


def models_table(entries: list[Entry]) -> RenderableType:
    """Lays out models as a table."""
    from rich.console import Group
    from rich.table import Table

    table = Table("model", "from", "voxels, nm", "patch", "offsets", "parameters", "weights", box=None, pad_edge=False)
    for entry in entries:
        config, offsets = entry.config, entry.config.network.offsets
        table.add_row(
            entry.name,
            entry.source,
            "×".join(f"{length:g}" for length in config.voxel_size),
            "×".join(map(str, config.patch)),
            f"{len(offsets)} to {','.join(str(max(map(abs, axis))) for axis in zip(*offsets, strict=True))}",
            f"{entry.parameters:,}",
            config.weights_sha256[:8],
        )
    return Group(table, "", *(f"{entry.name}: {entry.summary}" for entry in entries))
