"""Volumes in storage: the only room that opens arrays, through TensorStore, always in Z, Y, X and nanometres.

spec: what is known of a volume before a voxel is read · stores: where things lie and of which format they are ·
metadata, ngff, attributes, n5, units: axes, voxel size, translation and offsets as the formats write them · formats,
chunk_files, packed, zarr_python: arrays, however their chunks are named, packed and coded · opening: from a path to a
view in Z, Y, X · source: what is laid over a volume where it is named · volume: reading and writing boxes · frames,
voxel_sizes: which volumes have the same voxels, and whether a network knows voxels of their size · resampling: values
of a volume at the voxels of another one · creating: the volumes that we write · plausible, survey: what a user must
be told.
"""

from ..locations import CACHE_BYTES, THREADS
from .creating import create_volume
from .framed import Planned
from .frames import check_mask, check_same_frame, place_in
from .opening import open_volume
from .resampling import check_covers, coarse_centre, read_nearest_voxels, voxels_read
from .source import LAID_OVER, VolumeSource, absolute_path, level_names
from .spec import CHUNK_TARGET, VolumeSpec, check_write_boxes, default_chunks
from .survey import label_survey, survey
from .volume import Volume
from .voxel_sizes import VoxelScale, check_same_voxel_size, largest_ratio

__all__ = [
    "CACHE_BYTES",
    "CHUNK_TARGET",
    "LAID_OVER",
    "THREADS",
    "Planned",
    "Volume",
    "VolumeSource",
    "VolumeSpec",
    "VoxelScale",
    "absolute_path",
    "check_covers",
    "check_mask",
    "check_same_frame",
    "check_same_voxel_size",
    "check_write_boxes",
    "coarse_centre",
    "create_volume",
    "default_chunks",
    "label_survey",
    "largest_ratio",
    "level_names",
    "open_volume",
    "place_in",
    "read_nearest_voxels",
    "survey",
    "voxels_read",
]
