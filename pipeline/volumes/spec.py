"""Describes a volume before any voxel is read, and holds the rules that tie blocks to chunks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..errors import VolumeError
from ..geometry import BlockGrid, Box, Triple, triple

DTYPES = frozenset(
    "bool int8 int16 int32 int64 uint8 uint16 uint32 uint64 float16 float32 float64".split()  # noqa: SIM905 (a table)
)
CHUNK_TARGET: Triple = (32, 64, 64)
"""Voxels. All chunks that a halo touches are decoded: with chunks of (64, 128, 128), reading a block took 1.5 to
2.2 times as long; smaller ones than these gain less, and a viewer would ask for many more of them (docs/storage.md)."""
SHARD_VOXELS = 1 << 25  # most voxels in one shard: a writer holds one shard at a time beside its block

Nanometres = tuple[float, float, float]


@dataclass(frozen=True)
class VolumeSpec:
    """States shape, type, place in space and storage units of a volume; validated when made.

    Args:
        shape: voxels along z, y, x.
        dtype: name of a numpy boolean, integer or floating type.
        voxel_size: edge lengths of a voxel in nm, z, y, x.
        translation: position of voxel (0, 0, 0) in nm, z, y, x.
        channels: None for a (Z, Y, X) volume, else the number of channels of a (C, Z, Y, X) one.
        offsets: for affinities, one (z, y, x) a channel, in voxels: channel c at p is the edge of p and p − offset.
        chunk: spatial unit of reading, in voxels.
        shard: spatial unit of writing where chunks are kept together in shards; None: the chunk.
        fill_value: what voxels that were never written read as.

    Raises:
        VolumeError: a value breaks one of these rules.
    """

    shape: Triple
    dtype: str
    voxel_size: Nanometres
    translation: Nanometres = (0.0, 0.0, 0.0)
    channels: int | None = None
    offsets: tuple[Triple, ...] | None = None
    chunk: Triple = CHUNK_TARGET
    shard: Triple | None = None
    fill_value: float = 0

    def __post_init__(self) -> None:
        normal: dict[str, object] = {
            "shape": triple(self.shape),
            "chunk": triple(self.chunk),
            "shard": None if self.shard is None or triple(self.shard) == triple(self.chunk) else triple(self.shard),
            "voxel_size": nanometres(self.voxel_size),
            "translation": nanometres(self.translation),
            "offsets": None if self.offsets is None else tuple(triple(o) for o in self.offsets),
        }
        for name, value in normal.items():
            object.__setattr__(self, name, value)
        self._check()

    def _check(self) -> None:
        if min(self.shape) < 1 or min(self.write_unit) < 1:
            raise VolumeError(f"Sizes must be at least 1: shape {self.shape}, chunk {self.chunk}, shard {self.shard}.")
        if any(s % c for s, c in zip(self.write_unit, self.chunk, strict=True)):
            raise VolumeError(f"A shard must be made of whole chunks: shard {self.shard}, chunk {self.chunk}.")
        if self.dtype not in DTYPES:
            raise VolumeError(f"Voxels must be booleans, integers or floats, found {self.dtype!r}.")
        if not all(math.isfinite(v) and v > 0 for v in self.voxel_size):
            raise VolumeError(f"A voxel size must be three positive lengths in nm (z, y, x), found {self.voxel_size}.")
        if self.channels is not None and self.channels < 1:
            raise VolumeError(f"A volume has at least one channel, found {self.channels}; None means no channel axis.")
        if self.offsets is not None and len(self.offsets) != self.channels:
            raise VolumeError(f"Each channel needs one offset: {self.channels} channels, {len(self.offsets)} offsets.")

    @property
    def write_unit(self) -> Triple:
        """Returns the spatial unit that only one writer may touch at a time: the shard, or else the chunk."""
        return self.chunk if self.shard is None else self.shard

    @property
    def box(self) -> Box:
        """Returns all voxels."""
        return Box.of_shape(self.shape)

    @property
    def array_shape(self) -> tuple[int, ...]:
        """Returns shape of the whole array, channels first where there are any."""
        return self.shape if self.channels is None else (self.channels, *self.shape)

    @property
    def nbytes(self) -> int:
        """Returns bytes of the whole array, uncompressed."""
        return math.prod(self.array_shape) * np.dtype(self.dtype).itemsize

    def differences(self, other: VolumeSpec) -> list[str]:
        """Returns one line for each field in which another spec differs: name, this value, that value."""
        pairs = ((name, getattr(self, name), getattr(other, name)) for name in self.__dataclass_fields__)
        return [f"{name} {mine} / {theirs}" for name, mine, theirs in pairs if mine != theirs]


def nanometres(values: Sequence[float]) -> Nanometres:
    """Returns three lengths as floats.

    Raises:
        VolumeError: there are not three of them.
    """
    if len(values) != 3:
        raise VolumeError(f"Expected three lengths in nm in z, y, x order, found {list(values)}.")
    z, y, x = (float(v) for v in values)
    return z, y, x


def default_chunks(block: Triple, volume: Triple) -> tuple[Triple, Triple]:
    """Returns chunk and shard for a volume that is written block by block.

    The chunk comes as near to `CHUNK_TARGET` as whole divisions of the block allow; the shard is the block, or an
    equal part of it where the block has more than `SHARD_VOXELS` voxels. Where one block spans the whole axis,
    nothing needs to divide it: the shard may reach past the end of the volume.

    Args:
        block: shape of a block, in voxels.
        volume: shape of the volume, in voxels.

    Returns:
        (chunk, shard), both in voxels.
    """
    spans = [b >= v for b, v in zip(block, volume, strict=True)]
    chunk = triple(
        [
            min(v, target) if whole else _nearest_divisor(b, target)
            for b, v, target, whole in zip(block, volume, CHUNK_TARGET, spans, strict=True)
        ]
    )
    counts = [-(-min(b, v) // c) for b, v, c in zip(block, volume, chunk, strict=True)]  # chunks of a block
    while math.prod(counts) * math.prod(chunk) > SHARD_VOXELS and max(counts) > 1:
        # Split z first, so that a shard is written while those below it are computed; then the axis that is longest in
        # voxels, so that shards stay near to cubes.
        axis = 0 if counts[0] > 1 else max((a for a in (1, 2) if counts[a] > 1), key=lambda a: counts[a] * chunk[a])
        counts[axis] //= next(f for f in range(2, counts[axis] + 1) if counts[axis] % f == 0)
    return chunk, triple([n * c for n, c in zip(counts, chunk, strict=True)])


def _nearest_divisor(length: int, target: int) -> int:
    divisors = [d for d in range(1, length + 1) if length % d == 0]
    return min(divisors, key=lambda d: abs(math.log(d / target)))


def check_write_boxes(grid: BlockGrid, spec: VolumeSpec) -> None:
    """Make sure that no two blocks of a grid write into one chunk (or shard) of a volume.

    Raises:
        VolumeError: the grid belongs to another shape, or its blocks cut write units; the message has the cure.
    """
    if grid.volume != spec.shape:
        raise VolumeError(f"The blocks cover a volume of {grid.volume} voxels, the volume written has {spec.shape}.")
    unit = spec.write_unit
    good = [
        b % u == 0 or b >= v  # one block along an axis has no neighbour to share a unit with
        for b, u, v in zip(grid.block, unit, spec.shape, strict=True)
    ]
    if all(good):
        return
    cure = [b if ok else u * max(1, round(b / u)) for b, u, ok in zip(grid.block, unit, good, strict=True)]
    kind = "chunks" if spec.shard is None else "shards"
    raise VolumeError(
        f"Blocks must cover whole {kind} of what they write, or two tasks would write one of them: "
        f"the block shape is {list(grid.block)}, the {kind} are {list(unit)} (z, y, x). Use blocks of {cure}, "
        f"or write to a new volume."
    )
