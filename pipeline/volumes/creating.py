"""Making the volumes that we write: OME-Zarr 0.5."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import VolumeError
from ..locations import FAILURES, Location, context, storage_error
from .metadata import SPATIAL
from .ngff import ome_attributes
from .opening import open_volume
from .spec import VolumeSpec
from .stores import read_documents
from .volume import Volume

LEVEL = "0"  # the full resolution of an OME-Zarr image
ZSTD_GREY = 1
"""zstd level of voxels of one byte: level 3 takes 1.6 times as long to save 3 % of the bytes of affinities."""
ZSTD_LABELS = 3
"""zstd level of wider voxels (labels): 5 % fewer bytes than level 1 for a fifth more time; 5 takes over twice that."""


def create_volume(path: str | Path, spec: VolumeSpec) -> Volume:
    """Make an OME-Zarr 0.5 image (zarr v3, zstd, sharded if the spec has shards) with one level, `0`.

    Where a volume of the very same spec lies already, it is opened and kept: making a volume is repeatable.

    Raises:
        VolumeError: something else lies there.
        StorageError: the storage refused.
    """
    import tensorstore as ts

    place = Location.of(path)
    found = read_documents(place)
    if found.documents:
        volume = open_volume(path, writable=True)
        different = volume.spec.differences(spec)
        if different:
            raise VolumeError(
                f"{place.path} exists and is another volume (there / asked for: {'; '.join(different)}). "
                f"Choose another path, or delete it first."
            )
        return volume
    if place.is_local and Path(place.path).exists() and {p.name for p in Path(place.path).iterdir()} - {LEVEL}:
        raise VolumeError(f"{place.path} exists and is not a volume. Choose another path, or delete it first.")
    array = {"driver": "zarr3", "kvstore": (place / LEVEL).kvstore, "metadata": _zarr_metadata(spec)}
    group = {
        "zarr_format": 3,
        "node_type": "group",
        "attributes": ome_attributes(spec, place.name.strip(".").partition(".")[0]),
    }
    try:
        ts.open(array, open=True, create=True, context=context()).result()
        # The group's document comes last: without it there is no volume, whenever this is interrupted.
        place.open().write("zarr.json", json.dumps(group, indent=2, ensure_ascii=False).encode()).result()
    except FAILURES as error:
        raise storage_error(error, "create", place.path) from error
    return open_volume(path, writable=True)


def _zarr_metadata(spec: VolumeSpec) -> dict[str, Any]:
    names = ["c", *SPATIAL] if spec.channels is not None else list(SPATIAL)
    # Channels are stored apart, so that the nearest neighbours can be read without the rest; a shard holds them all.
    chunk = [1, *spec.chunk] if spec.channels is not None else list(spec.chunk)
    level = ZSTD_GREY if np.dtype(spec.dtype).itemsize == 1 else ZSTD_LABELS
    codecs: list[dict[str, Any]] = [
        {"name": "bytes", "configuration": {"endian": "little"}},
        {"name": "zstd", "configuration": {"level": level, "checksum": False}},
        {"name": "crc32c"},
    ]
    unit = chunk
    if spec.shard is not None:
        unit = [spec.channels, *spec.shard] if spec.channels is not None else list(spec.shard)
        index = [{"name": "bytes", "configuration": {"endian": "little"}}, {"name": "crc32c"}]
        sharding = {"chunk_shape": chunk, "codecs": codecs, "index_codecs": index, "index_location": "end"}
        codecs = [{"name": "sharding_indexed", "configuration": sharding}]
    return {
        "shape": list(spec.array_shape),
        "data_type": spec.dtype,
        "fill_value": np.dtype(spec.dtype).type(spec.fill_value).item(),
        "dimension_names": names,
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": unit}},
        "codecs": codecs,
    }
