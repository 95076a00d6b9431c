"""The names that chunk files really have in a folder, which the metadata may not say, or say wrongly."""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Iterable
from pathlib import Path

PACKED = (".gz", ".br", ".zstd", ".zst", ".bz2", ".xz")
"""Endings of chunks that were compressed once more as whole files, as cloud-volume leaves them on a local disk."""
_LOOKED_AT = 200
_DESCENDED = 3

STYLES = {
    "0.0": r"\d+(\.\d+){%d}",  # zarr v2
    "0/0": r"\d+(/\d+){%d}",
    "c.0.0": r"c\.\d+(\.\d+){%d}",  # zarr v3
    "c/0/0": r"c/\d+(/\d+){%d}",
}
"""Names of the first chunk of two axes in each style, and the pattern of names for so many axes more than one."""
PRECOMPUTED = re.compile(r"-?\d+--?\d+_-?\d+--?\d+_-?\d+--?\d+")


def chunk_names(folder: Path, depth: int) -> list[str]:
    """Returns paths of some files below a folder that may be chunks, relative to it, at most so many folders deep."""
    try:
        with os.scandir(folder) as scan:
            entries = list(itertools.islice((e for e in scan if re.match(r"-?\d|c$|c\.", e.name)), _LOOKED_AT))
    except OSError:
        return []
    names = [entry.name for entry in entries if entry.is_file()]
    folders = [entry for entry in entries if entry.is_dir()] if depth > 1 else []
    for inner in folders[:_DESCENDED]:
        names += [f"{inner.name}/{name}" for name in chunk_names(Path(inner.path), depth - 1)]
    return names


def styles_of(names: Iterable[str], rank: int) -> set[str]:
    """Returns the styles in which chunks of an array of so many axes are named; empty where there is none."""
    if rank < 2:
        return set()  # both separators give the same names
    patterns = {style: re.compile(pattern % (rank - 1)) for style, pattern in STYLES.items()}
    plain = [without_packing(name)[0] for name in names]
    return {style for style, pattern in patterns.items() if any(pattern.fullmatch(name) for name in plain)}


def packings_of(names: Iterable[str]) -> set[str]:
    """Returns the endings in `PACKED` that chunks have."""
    return {without_packing(name)[1] for name in names} - {""}


def without_packing(name: str) -> tuple[str, str]:
    """Returns a chunk's name and the ending in `PACKED` that it has, or none."""
    ending = next((ending for ending in PACKED if name.endswith(ending)), "")
    return name.removesuffix(ending), ending
