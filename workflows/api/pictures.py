"""`petavox.picture`: three orthogonal planes through one voxel, as the report shows them."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ...pipeline.affinities.nearest import Channels, read_nearest
from ...pipeline.errors import RequestError, VolumeError
from ...pipeline.geometry import Box, Triple, triple
from .volumes import Volume, VolumePath
from .volumes import open as open_volume

if TYPE_CHECKING:
    from ..report.drawing import Pane, Pixels, View

_LABELS = ("uint32", "uint64", "int32", "int64")
_GREY = 128  # below segments where there is no image


@dataclass(frozen=True)
class Picture:
    """Holds a picture that a notebook shows.

    Args:
        pixels: (Y, X, 3) uint8.
    """

    pixels: Pixels

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Writes the picture as a PNG file."""
        file = Path(path)
        file.write_bytes(self._repr_png_())
        return file

    def __repr__(self) -> str:
        height, width = self.pixels.shape[:2]
        return f"Picture({width} × {height} pixels)"

    def _repr_png_(self) -> bytes:
        from ..report.drawing import png

        return png(self.pixels)


def picture(
    volume: Volume | VolumePath | npt.NDArray[Any],
    at: Sequence[int] | None = None,
    *,
    over: Volume | VolumePath | npt.NDArray[Any] | None = None,
    labels: bool | None = None,
    voxel_size: Sequence[float] | None = None,
) -> Picture:
    """Draws the planes xy, zy (to the right) and xz (below) through one voxel.

        >>> run = petavox.open_run("runs/recipe")
        >>> petavox.picture(run.segmentation, at=(8, 64, 64), over=run.raw)
        Picture(... pixels)
        >>> petavox.picture("em.zarr").save("em.png")
        PosixPath('em.png')

    Grey values are stretched; each segment has a colour of its own, the same in every picture; affinities along z, y
    and x are red, green and blue. Of a large volume only a window around the voxel is read.

    Args:
        volume: a volume, its path, or an array (Z, Y, X); affinities are (C, Z, Y, X).
        at: the voxel, z y x; the middle unless given.
        over: the image that segments are laid over, of the same shape.
        labels: whether the values name segments; unless given, those of 32 or 64 bit integers do.
        voxel_size: nm, z y x, of an array; cubes unless given.

    Raises:
        RequestError: the voxel lies outside the volume, or the image has another shape.
    """
    from ..report import drawing

    shown = _voxels(volume, voxel_size)
    named = shown.dtype.name in _LABELS if labels is None else labels
    view = shown.view(at)
    if shown.channels:
        return Picture(view.compose(view.panes(shown.read)))
    if not named:
        return Picture(view.compose(drawing.grey(view.panes(shown.read))))
    panes = view.panes(shown.read)
    return Picture(view.compose(drawing.overlay(_under(over, shown, view, panes), panes)))


@dataclass(frozen=True)
class _Voxels:
    """Reads the voxels that a picture is made of, and says where they lie."""

    read: Callable[[Box], npt.NDArray[Any]]
    shape: Triple
    dtype: np.dtype[Any]
    voxel_size: tuple[float, float, float]
    channels: bool

    def view(self, at: Sequence[int] | None) -> View:
        from ..report.drawing import View

        centre = triple([n // 2 for n in self.shape] if at is None else at)
        if not all(0 <= c < n for c, n in zip(centre, self.shape, strict=True)):
            raise RequestError(f"The voxel must lie in the volume, which has {self.shape} voxels; found {centre}.")
        return View.around(centre, self.shape, self.voxel_size)


def _voxels(volume: Volume | VolumePath | npt.NDArray[Any], voxel_size: Sequence[float] | None) -> _Voxels:
    if isinstance(volume, str | os.PathLike) and not isinstance(volume, Volume):
        volume = open_volume(volume, voxel_size=voxel_size)
    if volume.ndim not in (3, 4) or (volume.ndim == 4 and volume.shape[0] < 3):
        raise VolumeError(
            "A picture is made of voxels (Z, Y, X), or of affinities (C, Z, Y, X) with a channel for each axis; found"
            f" the shape {volume.shape}."
        )
    size = volume.voxel_size if isinstance(volume, Volume) else tuple(voxel_size or (1, 1, 1))
    offsets = volume.spec.offsets if isinstance(volume, Volume) else None
    shape, channels = triple(volume.shape[-3:]), Channels() if offsets is None else Channels.of_offsets(offsets)

    def read(box: Box, some: slice | None = None) -> npt.NDArray[Any]:
        voxels = volume[box.slices() if some is None else (some, *box.slices())]
        return voxels.astype(np.uint8) if voxels.dtype == np.bool_ else voxels

    def affinities(box: Box) -> npt.NDArray[Any]:
        return read_nearest(read, box, shape, channels, "the volume")

    is_affinities = volume.ndim == 4
    z, y, x = (float(length) for length in size)
    return _Voxels(affinities if is_affinities else read, shape, volume.dtype, (z, y, x), is_affinities)


def _under(
    over: Volume | VolumePath | npt.NDArray[Any] | None, labels: _Voxels, view: View, panes: Sequence[Pane]
) -> list[Pixels]:
    from ..report.drawing import grey

    if over is None:
        return [np.full((*pane.shape, 3), _GREY, np.uint8) for pane in panes]
    image = _voxels(over, labels.voxel_size)
    if image.shape != labels.shape or image.channels:
        raise RequestError(f"Segments of {labels.shape} voxels are laid over an image of as many; found {image.shape}.")
    return grey(view.panes(image.read))
