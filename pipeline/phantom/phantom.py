"""The phantom volume: what is asked for, and reading any box of it."""

from __future__ import annotations

import math
from functools import cached_property
from typing import Annotated

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

from ..geometry import Box
from . import imaging, neurites, tissue
from .hashing import mix, uniform

_TILE = (8, 128, 128)  # voxels whose capsules are enumerated together

Rate = Annotated[float, Field(ge=0, le=1)]
Length = Annotated[float, Field(ge=0)]


class PhantomConfig(BaseModel):
    """Describes a volume without end of synthetic serial-section EM, drawn from a seed. Lengths are in nm.

    Args:
        seed: Number from which everything is drawn.
        voxel_size: Voxel size z, y, x; y and x must be equal. z is also the thickness of a section.
        thickest: Width of the thickest neurites; the finest are an eighth of it.
        membrane: Thickness of the dark line between two neurites.
        gap: Thickness of the line with label 0 between two neurites.
        shift: Standard deviation of each section's shift along y and along x.
        contrast_jitter: Standard deviation of each section's gain; its offset varies with it.
        noise: Standard deviation of the shot noise, in grey levels.
        grain: Standard deviation of the mottle of the cytoplasm before the blur, in grey levels.
        blur: Standard deviation of the microscope's blur.
        missing_rate: Share of sections whose image is lost (black); their labels stay.
        fold_rate: Share of sections with a fold.
    """

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    seed: int = Field(default=0, ge=0, lt=2**63)
    voxel_size: tuple[float, float, float] = Field(default=(30.0, 6.0, 6.0), strict=False)
    thickest: float = Field(default=1440.0, ge=300)
    membrane: float = Field(default=32.0, gt=0)
    gap: Length = 26.0
    shift: Length = 8.0
    contrast_jitter: Rate = 0.07
    noise: Length = 7.0
    grain: Length = 42.0
    blur: float = Field(default=6.5, ge=0, le=12)
    missing_rate: Rate = 0.01
    fold_rate: Rate = 0.01

    @model_validator(mode="after")
    def _square_pixels(self) -> PhantomConfig:
        z, y, x = self.voxel_size
        if min(z, y, x) <= 0 or y != x:
            raise ValueError(f"voxel_size must be positive and equal along y and x, found {self.voxel_size}.")
        return self


def _hash(key: np.uint64, *numbers: int) -> np.uint64:
    """`mix` of several numbers, kept in the type that the kernels expect."""
    for number in numbers:
        key = np.uint64(mix(key, number))
    return key


class Phantom:
    """Reads any box of the volume that a config describes. A voxel does not depend on the box that was asked for.

    Boxes may lie anywhere, below zero as well; the volume has no end. Time and memory grow with the box.
    """

    def __init__(self, config: PhantomConfig | None = None) -> None:
        self.config = config or PhantomConfig()

    def read(self, box: Box) -> tuple[np.ndarray, np.ndarray]:
        """Returns the image, uint8, and the neurite of each voxel, uint64 (0: membrane), both (Z, Y, X)."""
        image, labels = np.empty(box.shape, np.uint8), np.empty(box.shape, np.uint64)
        self._render(box, image, labels)
        return image, labels

    def raw(self, box: Box) -> np.ndarray:
        """Returns the image alone: (Z, Y, X) uint8."""
        image = np.empty(box.shape, np.uint8)
        self._render(box, image, None)
        return image

    def labels(self, box: Box) -> np.ndarray:
        """Returns the labels alone: (Z, Y, X) uint64. Cheaper than `read`."""
        labels = np.empty(box.shape, np.uint64)
        self._render(box, None, labels)
        return labels

    @cached_property
    def _key(self) -> np.uint64:
        return _hash(np.uint64(self.config.seed), 1)

    @cached_property
    def _rotation(self) -> np.ndarray:
        """Rows t0, t1, n of straight tissue space in z, y, x: slabs stand nearly upright, turned by chance."""
        turn = 2.0 * math.pi * uniform(self._key, 2)
        tilt = math.radians(12.0 + 16.0 * uniform(self._key, 3))
        c, s, ct, st = math.cos(turn), math.sin(turn), math.cos(tilt), math.sin(tilt)
        return np.array([[ct, -st * c, -st * s], [0.0, -s, c], [st, ct * c, ct * s]])

    def _section(self, z: int) -> np.ndarray:
        """Shift y, x; fold place, direction y, x, half width (0: no fold), all nm; gain, offset; 1 where missing."""
        key = _hash(self._key, 4, z)
        sy, sx, gain, offset = (sum(uniform(key, 10 * k + j) for j in range(12)) - 6.0 for k in range(1, 5))
        angle, config = 2.0 * math.pi * uniform(key, 1), self.config
        width = 70.0 + 60.0 * uniform(key, 2) if uniform(key, 3) < config.fold_rate else 0.0
        return np.array(
            [
                config.shift * sy,
                config.shift * sx,
                40000.0 * uniform(key, 4),
                math.cos(angle),
                math.sin(angle),
                width,
                1.0 + config.contrast_jitter * gain,
                100.0 * config.contrast_jitter * offset,
                float(uniform(key, 5) < config.missing_rate),
            ]
        )

    def _render(self, box: Box, image: np.ndarray | None, labels: np.ndarray | None) -> None:
        """Fill the arrays that are given, a few sections at a time."""
        if box.is_empty:
            return
        margin = 0 if image is None else imaging.MARGIN
        for z0 in range(box.start[0] - box.start[0] % _TILE[0], box.stop[0], _TILE[0]):
            part = Box((z0, *box.start[1:]), (z0 + _TILE[0], *box.stop[1:])).intersect(box)
            wide = part.grow((0, margin, margin))
            ids = np.empty(wide.shape, np.uint64)
            looks = np.empty((3, *wide.shape), np.float32)  # grey, depth, vesicles
            self._tissue(wide, ids, looks)
            here = slice(part.start[0] - box.start[0], part.stop[0] - box.start[0])
            if labels is not None:
                labels[here] = ids[:, margin : ids.shape[1] - margin, margin : ids.shape[2] - margin]
            if image is not None:
                for k, z in enumerate(range(part.start[0], part.stop[0])):
                    self._photograph(z, wide.start[1:], looks[:, k], image[here][k])

    def _tissue(self, box: Box, ids: np.ndarray, looks: np.ndarray) -> None:
        """Labels and looks of a few sections, tile by tile."""
        config, brick = self.config, tissue.BRICK
        sections = [self._section(z) for z in range(box.start[0], box.stop[0])]
        membrane = np.array([config.gap / 2, config.membrane / 2, config.voxel_size[0] / 2])
        for y in range(box.start[1] - box.start[1] % _TILE[1], box.stop[1], _TILE[1]):
            for x in range(box.start[2] - box.start[2] % _TILE[2], box.stop[2], _TILE[2]):
                y0, x0 = max(y, box.start[1]), max(x, box.start[2])
                y1, x1 = min(y + _TILE[1], box.stop[1]), min(x + _TILE[2], box.stop[2])
                origin = np.array([y0 - y0 % brick, x0 - x0 % brick])
                nodes = (-(-(y1 - origin[0]) // brick) + 1, -(-(x1 - origin[1]) // brick) + 1)
                lattices = [
                    tissue.warp(
                        self._key,
                        self._rotation,
                        section,
                        z * config.voxel_size[0],
                        config.voxel_size[1],
                        *origin,
                        *nodes,
                    )
                    for z, section in enumerate(sections, box.start[0])
                ]
                rows, names = self._capsules(lattices)
                place = np.array([y0, y1, x0, x1, y0 - box.start[1], x0 - box.start[2]])
                for k, lattice in enumerate(lattices):
                    tissue.section(rows, names, lattice, origin, place, membrane, ids[k], looks[:, k])

    def _capsules(self, lattices: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """The capsules that can be nearest, or next to it, somewhere in a tile."""
        places = np.stack(lattices)[..., :3].reshape(-1, 3)
        low, high = places.min(0) - self.config.thickest, places.max(0) + self.config.thickest
        capacity = 8192
        while True:
            rows, names = np.empty((capacity, neurites.COLUMNS)), np.empty(capacity, np.uint64)
            count = neurites.capsules(self._key, self.config.thickest, low, high, rows, names)
            if count >= 0:
                return rows[:count], names[:count]
            capacity *= 2

    def _photograph(self, z: int, start: tuple[int, ...], looks: np.ndarray, out: np.ndarray) -> None:
        """The image of one section from its looks, which begin at pixel `start` (y, x), a margin before `out`."""
        config, section = self.config, self._section(z)
        y0, x0 = start
        pixel = config.voxel_size[1]
        if section[8]:
            out[:] = 0
            return
        grey, depth, vesicles = looks
        key = _hash(self._key, 5, z)
        imaging.clutter(_hash(key, 1), pixel, y0, x0, grey, depth, vesicles)
        imaging.grain(_hash(key, 2), y0, x0, config.grain, grey)
        imaging.blur(grey, config.blur / pixel, np.empty_like(grey))
        inner = (y0 + imaging.MARGIN, x0 + imaging.MARGIN)
        imaging.expose(_hash(key, 3), pixel, *inner, section[6:8], config.noise, section, grey, out)
