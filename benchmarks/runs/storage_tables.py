"""The tables of docs/storage.md, from what `storage.py` measured."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from petavox.pipeline.geometry import Triple

from ..harness.commits import staleness

Row = dict[str, Any]
CHUNK: Triple = (32, 64, 64)  # of the comparison of codecs
CHOSEN = {"affinities": "zstd 1", "fragments": "zstd 3", "segmentation": "zstd 3"}  # of the comparison of chunks


def print_tables(result: Path) -> None:
    """The tables of docs/storage.md from one result."""
    document = json.loads(result.read_text(encoding="utf-8"))
    rows = {part["part"]: part["rows"] for part in document["rows"]}
    z, y, x = rows["volumes"][0]["block"]
    print(f"\n### {document['name']}: {document['cpu']}, {document['date']}, blocks of {z} × {y} × {x}\n")
    if (why := staleness("storage_snemi3d", document.get("commit"))) is not None:
        print(f"**Not of today's code: {why}.**\n")
    print("| stage, one block | CPU s | volumes | tables | kernels |\n|---|---|---|---|---|")
    for row in rows["stages"]:
        shares = [row["volumes"], row["tables"], row["seconds"] - row["volumes"] - row["tables"]]
        parts = " | ".join(f"{share / row['seconds']:.0%}" for share in shares)
        print(f"| {row['stage']} | {row['seconds']:.3g} | {parts} |")
    chunks = " × ".join(map(str, CHUNK))
    _print_volumes(f"codec, chunks of {chunks} in a shard", rows["volumes"], _codec_row)
    _print_volumes("chunk", rows["volumes"], _chunk_row)
    print("\n| tables | bytes | write s | read s |\n|---|---|---|---|")
    ways = dict.fromkeys((row["compression"], row["level"], row["encoding"]) for row in rows["tables"])
    for way in ways:
        same = [row for row in rows["tables"] if (row["compression"], row["level"], row["encoding"]) == way]
        size, write, read = (sum(row[key] for row in same) for key in ("bytes", "write", "read"))
        name = " ".join(str(part) for part in way[:2] if part is not None)
        print(f"| {name}, {way[2]} | {size / 1e6:.1f} MB | {write:.2f} | {read:.2f} |")


def _codec_row(row: Row) -> str | None:
    return row["codec"] if tuple(row["chunk"]) == CHUNK and row["sharded"] else None


def _chunk_row(row: Row) -> str | None:
    if row["codec"] != CHOSEN[row["volume"]]:
        return None
    whole = row["chunk"] == row["block"]
    where = "the block" if whole else "shard" if row["sharded"] else "no shard"
    return f"{' × '.join(map(str, row['chunk']))}, {where}"


def _print_volumes(title: str, rows: list[Row], label: Callable[[Row], str | None]) -> None:
    """One line a label; write and read in MB/s of uncompressed bytes, sections in ms, bytes on disk a voxel."""
    names = list(dict.fromkeys(row["volume"] for row in rows))
    by_label: dict[str, dict[str, Row]] = {}
    for row in rows:
        if label(row) is not None:
            by_label.setdefault(str(label(row)), {})[row["volume"]] = row
    print(f"\n| {title} | " + " | ".join(f"{n}: write, read MB/s, section ms, B/voxel" for n in names), end=" | ")
    print("files / Gvoxel |\n|" + "---|" * (len(names) + 2))
    for text, found in by_label.items():
        cells = [
            f"{r['nbytes'] / r['write'] / 1e6:.0f}, {r['nbytes'] / r['read'] / 1e6:.0f}, {r['section'] * 1e3:.1f}, "
            f"{r['bytes_per_voxel']:.3g}"
            for r in found.values()
        ]
        files = sorted({round(r["files_per_gigavoxel"]) for r in found.values()})
        print(f"| {text} | {' | '.join(cells)} | {' to '.join(f'{n:,}' for n in files)} |")
