"""Where volumes lie and of which format they are: found from what is there, never from the name."""

from __future__ import annotations

import difflib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import VolumeError
from ..locations import FAILURES, Document, Location, storage_error

DOCUMENTS = ("zarr.json", ".zarray", ".zgroup", ".zattrs", "attributes.json", "info")


IMAGES = (".tif", ".tiff", ".png", ".jpg", ".jpeg", ".bmp")
"""Endings of images that `petavox convert` brings in."""


@dataclass(frozen=True)
class Found:
    """Holds the metadata documents at a place, and the stamp of each, which changes when the document is written anew.

    Args:
        place: the folder or prefix.
        documents: by name of the file.
        stamps: by name of the file.
        scale: key of the scale that is meant, of a precomputed volume; its first one unless given.
    """

    place: Location
    documents: dict[str, Document]
    stamps: dict[str, str]
    scale: str | None = None

    @property
    def array_format(self) -> str | None:
        """Returns TensorStore's name of the format if an array lies here."""
        documents = self.documents
        if documents.get("zarr.json", {}).get("node_type") == "array":
            return "zarr3"
        if ".zarray" in documents:
            return "zarr"
        if "dimensions" in documents.get("attributes.json", {}):
            return "n5"
        if self.scales:
            return "neuroglancer_precomputed"
        return None

    @property
    def is_group(self) -> bool:
        return self.array_format is None and bool(set(self.documents) - {"info"})

    @property
    def array_document(self) -> Document:
        """Returns the metadata of the array itself."""
        names = {"zarr3": "zarr.json", "zarr": ".zarray", "n5": "attributes.json", "neuroglancer_precomputed": "info"}
        return self.documents.get(names.get(self.array_format or "", ""), {})

    @property
    def attributes(self) -> Document:
        """Returns everything that users and tools wrote beside the array or group."""
        if "zarr.json" in self.documents:
            written = self.documents["zarr.json"].get("attributes")
            return dict(written) if isinstance(written, dict) else {}
        return self.documents.get(".zattrs") or self.documents.get("attributes.json") or {}

    @property
    def scales(self) -> list[str]:
        """Returns keys of the scales of a precomputed volume, the finest first."""
        found = self.documents.get("info", {}).get("scales")
        return [str(s.get("key")) for s in found if isinstance(s, dict)] if isinstance(found, list) else []


def read_documents(place: Location) -> Found:
    """Read whatever metadata documents lie at a place.

    Raises:
        StorageError: nothing could be read, and for another reason than that nothing is there.
        VolumeError: a document is not JSON.
    """
    documents, stamps, failures = {}, {}, []
    try:
        store = place.open()
        futures = {name: store.read(name) for name in DOCUMENTS}
    except FAILURES as error:
        raise storage_error(error, "look at", place.path) from error
    for name, future in futures.items():
        try:
            result = future.result()
        except FAILURES as error:  # some servers forbid what they do not have
            failures.append(error)
            continue
        if result.state == "value":
            documents[name] = _parse(result.value, f"{place.path}/{name}")
            stamps[name] = _stamp(place, name, result)
    if failures and not documents:
        raise storage_error(failures[0], "look at", place.path) from failures[0]
    return Found(place, documents, stamps)


def _parse(text: bytes, where: str) -> Document:
    try:
        document = json.loads(text.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise VolumeError(f"The metadata in {where} is not JSON: {error}.") from error
    if not isinstance(document, dict):
        raise VolumeError(f"The metadata in {where} is not a JSON object.")
    return document


def _stamp(place: Location, name: str, result: Any) -> str:
    if not place.is_local:
        return str(result.stamp.generation.hex())
    status = Path(place.path, name).stat()
    return f"{status.st_mtime_ns} {status.st_size}"


def missing(place: Location, below: str = "") -> VolumeError:
    """Returns the error for a place where no volume was found: what was looked for, and what has a similar name.

    Args:
        place: where it was looked for.
        below: a sentence on the volumes in folders below.
    """
    looked = "zarr (zarr.json, .zarray, .zgroup), N5 (attributes.json), precomputed (info)"
    if not place.is_local:
        return VolumeError(f"No volume at {place.path}: looked for {looked}. Check the address and your access to it.")
    path = Path(place.path)
    if path.is_file():
        return VolumeError(
            f"{path} is a file; volumes are read from {looked}. Bring it in with: petavox convert {path} DST.zarr"
        )
    if path.is_dir():
        return VolumeError(f"No volume in the folder {path}: looked for {looked}.{below or _listing(path)}")
    near = difflib.get_close_matches(path.name, [p.name for p in path.parent.glob("*")], n=3, cutoff=0.5)
    hint = f" Similar names there: {', '.join(near)}." if near else ""
    folder = "" if path.parent.is_dir() else f" The folder {path.parent} does not exist either."
    return VolumeError(f"No volume at {path}: nothing is there.{hint}{folder}")


def _listing(path: Path) -> str:
    names = sorted(p.name for p in path.iterdir())
    if any(f"{document}.gz" in names for document in DOCUMENTS):
        return f" Its files were compressed one by one: unpack them first (gunzip -r {path})."
    if not names:
        return " It is empty."
    images = " To bring images in: petavox convert" if any(name.lower().endswith(IMAGES) for name in names) else ""
    way_on = f"{images} {path} DST.zarr --voxel-size Z,Y,X (nm)" if images else ""
    return f" It holds: {', '.join(names[:8])}{' …' if len(names) > 8 else ''}.{way_on}"
