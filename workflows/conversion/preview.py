"""A picture of a volume: its middle section, and what one sees from the front and from the side."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ...pipeline.errors import RequestError, StorageError
from ...pipeline.geometry import Box, Triple, triple
from ...pipeline.volumes import Volume

MOST = 1024
"""Voxels along each axis that are shown, around the middle."""
LONGEST = 2048
"""Pixels of the longest side of a section in the picture."""
_GAP = 4


def check_preview(path: Path) -> None:
    """Make sure that a picture can be written to a path.

    Raises:
        RequestError: it is no PNG, exists, or its folder does not.
    """
    if path.suffix.lower() != ".png":
        raise RequestError(f"A preview is a PNG, found {path}. Give it a name that ends with .png.")
    if path.exists():
        raise RequestError(f"{path} exists and is not overwritten. Choose another name, or delete it first.")
    if not path.absolute().parent.is_dir():
        raise RequestError(f"The folder {path.absolute().parent} of the preview does not exist. Make it first.")


def write_preview(volume: Volume, path: Path) -> None:
    """Write three sections through the middle of a volume: y and x, below it z and x, beside it y and z.

    Voxels are as large as they are in space; grey values go from the 1st to the 99th hundredth of what is shown.

    Raises:
        StorageError: the volume cannot be read, or the picture cannot be written.
    """
    import imagecodecs

    try:
        path.write_bytes(imagecodecs.png_encode(preview_of(volume)))
    except OSError as error:
        raise StorageError(f"Could not write {path}: {error.strerror or error}.") from error


def preview_of(volume: Volume) -> np.ndarray:
    """Returns the picture, uint8 (Y, X)."""
    shape, size = volume.spec.shape, volume.spec.voxel_size
    middle = triple([n // 2 for n in shape])
    shown = Box.of_shape(shape).intersect(
        Box(triple([m - MOST // 2 for m in middle]), triple([m + MOST // 2 for m in middle]))
    )
    planes = [_plane(volume, shown, middle, axis) for axis in range(3)]
    low, high = np.percentile(np.concatenate([plane.ravel() for plane in planes]), (1, 99))
    unit = max(min(size), max(n * s for n, s in zip(shown.shape, size, strict=True)) / LONGEST)
    section, front, side = (_stretched(_grey(plane, low, high), axis, size, unit) for axis, plane in enumerate(planes))
    height, width = section.shape[0] + _GAP + front.shape[0], section.shape[1] + _GAP + side.shape[0]
    picture = np.full((height, width), 255, np.uint8)
    picture[: section.shape[0], : section.shape[1]] = section
    picture[section.shape[0] + _GAP :, : front.shape[1]] = front
    picture[: side.shape[1], section.shape[1] + _GAP :] = side.T
    return picture


def _plane(volume: Volume, shown: Box, middle: Triple, axis: int) -> np.ndarray:
    """The plane through the middle across an axis; of several channels the first."""
    start, stop = list(shown.start), list(shown.stop)
    start[axis], stop[axis] = middle[axis], middle[axis] + 1
    channel = None if volume.spec.channels is None else slice(0, 1)
    voxels = volume.read(Box(triple(start), triple(stop)), channel)
    plane = voxels.reshape(voxels.shape[-3:]).take(0, axis).astype(np.float64)
    return np.where(np.isfinite(plane), plane, 0.0)


def _grey(plane: np.ndarray, low: float, high: float) -> np.ndarray:
    return np.asarray(np.clip((plane - low) / max(high - low, 1e-300), 0, 1) * 255, np.uint8)


def _stretched(plane: np.ndarray, axis: int, size: tuple[float, float, float], unit: float) -> np.ndarray:
    """A plane with pixels repeated or left out, so that each is as many nm high and wide."""
    down, across = (s for a, s in enumerate(size) if a != axis)
    for number, length in enumerate((down, across)):
        places = np.arange(max(1, round(plane.shape[number] * length / unit))) * unit / length
        plane = plane.take(np.minimum(places.astype(int), plane.shape[number] - 1), number)
    return np.asarray(plane)
