"""The arrays and images below a folder, for messages that must say what could be named instead."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from ..errors import PetavoxError
from ..locations import Location
from .ngff import images
from .stores import DOCUMENTS, Found, read_documents

MOST_NAMED = 12
_DEEPEST = 4
_MOST_FOLDERS = 300


def volumes_below(folder: Path) -> list[str]:
    """Lists OME-NGFF images and other arrays below a folder, with their shapes in storage; some of them if many.

    Only local folders are looked through, and no more than a few hundred of them.
    """
    found: list[str] = []
    for path, inner in _walk(folder):
        if path == folder:
            continue
        found.append(f"{path}{_shape(inner)}")
        if len(found) == MOST_NAMED:
            break
    return sorted(found)


def sentence(folder: Path) -> str:
    """Words what there is below a folder, as the end of a message; empty if nothing was found."""
    found = volumes_below(folder)
    more = " …" if len(found) == MOST_NAMED else ""
    return f" Name one of: {', '.join(found)}{more}" if found else ""


def _walk(folder: Path) -> Iterator[tuple[Path, Found]]:
    """Images and arrays, breadth first; what lies inside of one is not named."""
    waiting, seen = [(folder, 0)], 0
    while waiting and seen < _MOST_FOLDERS:
        path, depth = waiting.pop(0)
        seen += 1
        try:
            with os.scandir(path) as scan:
                entries = [entry for entry, _ in zip(scan, range(1000), strict=False)]
            found = read_documents(Location(str(path))) if {e.name for e in entries} & set(DOCUMENTS) else None
        except (OSError, PetavoxError):
            continue
        if found is not None and (found.array_format or images(found.attributes)):
            yield path, found
            if path != folder:
                continue
        if depth < _DEEPEST:
            inner = sorted(Path(e.path) for e in entries if e.is_dir(follow_symlinks=False) and e.name[0] != ".")
            waiting += [(one, depth + 1) for one in inner]


def _shape(found: Found) -> str:
    document = found.array_document
    shape = document.get("shape", document.get("dimensions"))
    return f" {tuple(shape)}" if isinstance(shape, list) else ""
