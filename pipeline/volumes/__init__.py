"""Volumes in storage: the only room that opens arrays, through TensorStore, always in Z, Y, X and nanometres.

spec: what is known of a volume before a voxel is read · stores: where things lie and of which format they are ·
metadata: axes, voxel size, translation and offsets as the formats write them · opening: from a path to a view in
Z, Y, X · volume: reading and writing boxes · creating: the volumes that we write.
"""

from .creating import create_volume
from .opening import open_volume
from .spec import CHUNK_TARGET, VolumeSpec, check_write_boxes, default_chunks
from .stores import CACHE_BYTES, THREADS
from .volume import Volume, check_same_frame

__all__ = [
    "CACHE_BYTES",
    "CHUNK_TARGET",
    "THREADS",
    "Volume",
    "VolumeSpec",
    "check_same_frame",
    "check_write_boxes",
    "create_volume",
    "default_chunks",
    "open_volume",
]
