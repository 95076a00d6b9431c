"""A volume as a recipe names it: where it lies, and metadata that are laid over its own without touching it."""

from __future__ import annotations

import copy
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    FiniteFloat,
    NonNegativeInt,
    PositiveFloat,
    ValidationInfo,
    field_validator,
    model_serializer,
    model_validator,
)

from ..errors import VolumeError
from ..locations import THREADS, Location
from .ngff import images, levels
from .opening import open_volume
from .spec import nanometres
from .stores import read_documents
from .volume import Volume

LAID_OVER = ("level", "voxel_size", "axes", "offset_nm", "offset_voxels", "channel")
"""What may be laid over a volume."""


class VolumeSource(BaseModel):
    """Names a volume by its path, and what counts instead of what its metadata say.

    A path alone stands for one over which nothing is laid, in recipes, in configs, and where it is written down.

    Args:
        path: Path or URL, relative to the folder of the recipe that names it.
        level: Level of an image pyramid, counted from 0, the finest. All other keys are about that level.
        voxel_size: Size of a voxel in nm, z, y, x.
        axes: Names of the array's axes in its own order, one letter each, such as "xyz".
        offset_nm: Position of the first voxel in nm, z, y, x.
        offset_voxels: Position of the first voxel in voxels, z, y, x.
        channel: Number of the channel that is taken, from 0, where the array has several.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    path: str
    level: NonNegativeInt | None = None
    voxel_size: tuple[PositiveFloat, PositiveFloat, PositiveFloat] | None = None
    axes: str | None = None
    offset_nm: tuple[FiniteFloat, FiniteFloat, FiniteFloat] | None = None
    offset_voxels: tuple[FiniteFloat, FiniteFloat, FiniteFloat] | None = None
    channel: NonNegativeInt | None = None

    @classmethod
    def of(cls, named: str | Path | VolumeSource) -> VolumeSource:
        """Returns a path as a source; a source as it is."""
        return named if isinstance(named, VolumeSource) else cls(path=str(named))

    @model_validator(mode="before")
    @classmethod
    def _from_path(cls, content: Any) -> Any:
        if isinstance(content, str):
            return {"path": content}
        if isinstance(content, Mapping):  # JSON has no tuples
            return {key: tuple(value) if isinstance(value, list) else value for key, value in content.items()}
        return content

    @field_validator("path")
    @classmethod
    def _against_recipe(cls, path: str, info: ValidationInfo) -> str:
        return absolute_path(path, info.context["folder"]) if info.context else path

    @model_validator(mode="after")
    def _one_offset(self) -> Self:
        if self.offset_nm is not None and self.offset_voxels is not None:
            raise ValueError("the position of the first voxel is given once: as 'offset_nm' or as 'offset_voxels'")
        return self

    @model_serializer
    def _as_written(self) -> str | dict[str, Any]:
        return {"path": self.path, **self.laid_over} if self.laid_over else self.path

    def __str__(self) -> str:
        return self.path

    @property
    def laid_over(self) -> dict[str, Any]:
        """Lists the values laid over the volume, by name; nothing where it is taken as it is."""
        values = ((name, getattr(self, name)) for name in LAID_OVER)
        return {name: value for name, value in values if value is not None}

    def open(self, *, threads: int = THREADS) -> Volume:
        """Returns the volume, for reading.

        Args:
            threads: see `open_volume`.

        Raises:
            VolumeError, StorageError: see `open_volume`; or there is no such level.
        """
        path = self.path if self.level is None else _level(Location.of(self.path), self.level)
        volume = open_volume(path, voxel_size=self.voxel_size, axes=self.axes, channel=self.channel, threads=threads)
        size = volume.spec.voxel_size
        if self.offset_voxels is not None:
            translation = nanometres([o * s for o, s in zip(self.offset_voxels, size, strict=True)])
        elif self.offset_nm is not None:
            translation = self.offset_nm
        else:
            return volume
        moved = copy.copy(volume)
        moved.spec = replace(volume.spec, translation=translation)
        return moved


def absolute_path(path: str, folder: Path) -> str:
    """Returns a path that was written in a folder, absolute; a URL as it is."""
    return path if "://" in path else os.path.normpath(folder / Path(path).expanduser())


def _level(place: Location, level: int) -> str:
    """The path of one array of an image pyramid."""
    names = level_names(place.path)
    if level >= len(names):
        found = f"has {len(names)}: {', '.join(names)}" if names else "is none: it names one array, or nothing"
        raise VolumeError(
            f"A level is one of an image pyramid, counted from 0; {place.path} {found}. There is no level {level}."
        )
    return (place / names[level]).path


def level_names(path: str | Path) -> list[str]:
    """Returns the arrays of an image pyramid, below its folder, the finest first; none where there is no pyramid.

    They are those of an OME-NGFF image, the scales of a precomputed volume, or s0, s1 … of an N5 pyramid.
    """
    place = Location.of(path)
    found = read_documents(place)
    if found.scales:
        return found.scales
    if found.array_format is not None:
        return []
    for image in images(found.attributes):
        return levels(image)
    names: list[str] = []
    while read_documents(place / f"s{len(names)}").array_format is not None:
        names.append(f"s{len(names)}")
    return names
