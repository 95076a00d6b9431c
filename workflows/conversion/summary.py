"""Sums up a conversion in one line."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from ...pipeline.volumes import Volume
from .journal import Extremes


@dataclass(frozen=True)
class Converted:
    """Describes a volume that was converted.

    Args:
        volume: open for reading.
        sections: how many there are, which is the first and which the last.
        low, high: least and greatest finite value of a voxel; not a number if there is none.
        not_finite: voxels that are infinite or not a number.
    """

    volume: Volume
    sections: str
    low: float
    high: float
    not_finite: int

    def __str__(self) -> str:
        """The line: sections, shape, type, size in nm and µm, range of values."""
        spec = self.volume.spec
        channels = "" if spec.channels is None else f"{spec.channels} channels of "
        extent = _times([n * size / 1000 for n, size in zip(spec.shape, spec.voxel_size, strict=True)])
        parts = [
            self.sections,
            f"{channels}{_times(spec.shape)} voxels (z, y, x) {spec.dtype}",
            f"{_times(spec.voxel_size)} nm a voxel, {extent} µm in all",
            f"grey values {_number(self.low)} to {_number(self.high)}",
        ]
        return f"{self.volume.path}: {'; '.join(parts)}"

    @property
    def remarks(self) -> tuple[str, ...]:
        """Lists remarks on the values that a user must be told."""
        path, found = self.volume.path, []
        if self.not_finite:
            found.append(f"{path}: {self.not_finite} voxels are infinite or not a number.")
        if self.low == self.high or math.isnan(self.low):
            value = _number(self.low)
            found.append(f"{path}: all voxels have the value {value}. Is it the right file, and are its chunks there?")
        return tuple(found)


def extremes_of(voxels: np.ndarray) -> Extremes:
    """Returns least and greatest finite value, and how many are not finite."""
    if voxels.dtype.kind != "f":
        return voxels.min().item(), voxels.max().item(), 0
    finite = np.isfinite(voxels)
    odd = int(voxels.size - np.count_nonzero(finite))
    if odd == voxels.size:
        return math.nan, math.nan, odd
    known = voxels if odd == 0 else voxels[finite]
    return known.min().item(), known.max().item(), odd


def both(one: Extremes, other: Extremes) -> Extremes:
    """Returns the extremes of two parts together."""
    lows = [low for low in (one[0], other[0]) if not math.isnan(low)]
    highs = [high for high in (one[1], other[1]) if not math.isnan(high)]
    return min(lows, default=math.nan), max(highs, default=math.nan), one[2] + other[2]


def _number(value: float) -> str:
    return f"{value:.10g}" if isinstance(value, float) else str(value)


def _times(values: object) -> str:
    return " × ".join(f"{v:.4g}" if isinstance(v, float) else str(v) for v in values)  # type: ignore[attr-defined]
