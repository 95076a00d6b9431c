"""Volumes in storage: the only room that opens arrays, through TensorStore, always in Z, Y, X and nanometres.

spec: what is known of a volume before a voxel is read · stores: where things lie and of which format they are ·
metadata, ngff, attributes, n5, units: axes, voxel size, translation and offsets as the formats write them · formats,
chunk_files, packed, zarr_python: arrays, however their chunks are named, packed and coded · opening: from a path to a
view in Z, Y, X · volume: reading and writing boxes · creating: the volumes that we write · plausible, survey: what a
user must be told.
"""

from .creating import create_volume
from .opening import open_volume
from .spec import VolumeSpec, check_write_boxes, default_chunks
from .stores import CACHE_BYTES
from .survey import survey
from .volume import Volume, check_same_frame

__all__ = [
    "CACHE_BYTES",
    "Volume",
    "VolumeSpec",
    "check_same_frame",
    "check_write_boxes",
    "create_volume",
    "default_chunks",
    "open_volume",
    "survey",
]
