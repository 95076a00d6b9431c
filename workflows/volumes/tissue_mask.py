"""`petavox mask`: where a raw volume shows tissue, as a volume of coarse cells that serves as a run's mask.

1. The level of the image that is read: the coarsest that still has some voxels along the edge of a cell.
2. The structure of every cell, a block of cells at a time; a cell depends on its own voxels alone.
3. The outline, from the structure of all cells together. It is written when it is whole.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from ...pipeline.errors import RequestError, StorageError, VolumeError
from ...pipeline.geometry import BlockGrid, Box, Triple, triple
from ...pipeline.volumes import Volume, VolumeSource, VolumeSpec, coarse_centre, create_volume, level_names
from ..progress import Progress

if TYPE_CHECKING:
    from ...pipeline.tissue import Outline

CELL = 500.0
"""nm; about the edge of a cell."""
LEAST_VOXELS = 8
"""Along y and x, of a cell."""
MOST_CELLS = 1 << 30
_BLOCK = 1 << 24  # voxels that are read at a time
_THREADS = 4


@dataclass(frozen=True)
class TissueMask:
    """Describes a mask that was made.

    Args:
        path: where it lies.
        spec: of the mask; a voxel of it is a cell.
        level: of the raw volume's pyramid that was read; None where it has none.
        raw: shape of what was read, voxels.
        cell: voxels of it along the edges of a cell.
        threshold: grey levels of structure from which on a cell is tissue; None where all of the image is.
        share: of the cells, how many are tissue.
    """

    path: Path
    spec: VolumeSpec
    level: int | None
    raw: Triple
    cell: Triple
    threshold: float | None
    share: float


def make_tissue_mask(
    raw: VolumeSource,
    out: Path,
    *,
    cell: float = CELL,
    threshold: float | None = None,
    smallest: float = 0.01,
    progress: Progress,
) -> TissueMask:
    """Outline the tissue of a raw volume, and write it as a volume of cells: 1 is tissue, 0 is not.

    The same raw volume gives the same mask, whatever happened before; until it is whole, `out` does not exist.

    Args:
        raw: the volume; unless it names a level of its pyramid, the coarsest that will do is read.
        out: path of the mask, where nothing may lie.
        cell: about the edge of a cell, nm; it has whole voxels, at least `LEAST_VOXELS` along y and x.
        threshold: grey levels of structure from which on a cell is tissue; found from the whole volume unless given.
        smallest: pieces smaller than this share of the largest one are dropped.
        progress: is told of each block that was read.

    Raises:
        RequestError: something lies at `out`, a value makes no sense, or there would be too many cells.
        VolumeError: the raw volume cannot be used, or shows no image.
        StorageError: the storage failed.
    """
    _check(out, cell, threshold, smallest)
    source = raw if raw.level is not None or raw.voxel_size is not None else _coarsest(raw, cell)
    volume = source.open()
    if volume.spec.channels is not None:
        raise VolumeError(
            f"Raw data has the axes z, y, x; {volume.path} has {volume.spec.channels} channels besides. Take one of"
            " them: --channel 0"
        )
    side = _cell_of(volume.spec, cell)
    found = _outline(volume, side, threshold, smallest, progress)
    size = [voxels * length for voxels, length in zip(side, volume.spec.voxel_size, strict=True)]
    spec = VolumeSpec(triple(found.inside.shape), "uint8", (size[0], size[1], size[2]), coarse_centre(volume, side))
    _write(out, spec, found.inside)
    return TissueMask(out, spec, source.level, volume.spec.shape, side, found.threshold, found.share)


def _check(out: Path, cell: float, threshold: float | None, smallest: float) -> None:
    if out.exists():
        raise RequestError(f"{out} exists, and a mask is a new volume. Choose another path, or delete it first.")
    if not cell > 0:
        raise RequestError(f"A cell has an edge of more than 0 nm; found {cell:g}.")
    if threshold is not None and not threshold >= 0:
        raise RequestError(f"A threshold is at least 0 grey levels of structure; found {threshold:g}.")
    if not 0 <= smallest <= 1:
        raise RequestError(f"The smallest piece is a share of the largest, from 0 to 1; found {smallest:g}.")


def _coarsest(raw: VolumeSource, cell: float) -> VolumeSource:
    """The coarsest level whose voxels are small enough along y and x; the volume as it is where it has no levels."""
    levels = [raw.model_copy(update={"level": number}) for number in range(len(level_names(raw.path)))]
    for source in reversed(levels):
        if max(source.open().spec.voxel_size[1:]) * LEAST_VOXELS <= cell:
            return source
    return levels[0] if levels else raw


def _cell_of(spec: VolumeSpec, cell: float) -> Triple:
    """The edges of a cell in voxels."""
    least = (1, LEAST_VOXELS, LEAST_VOXELS)
    return triple([max(few, round(cell / size)) for few, size in zip(least, spec.voxel_size, strict=True)])


def _outline(volume: Volume, cell: Triple, threshold: float | None, smallest: float, progress: Progress) -> Outline:
    from ...pipeline.tissue import cells_of, outline

    cells = cells_of(volume.spec.shape, cell)
    if cells[0] * cells[1] * cells[2] > MOST_CELLS:
        raise RequestError(
            f"A mask may have {MOST_CELLS:,} cells; there would be {cells} (z, y, x). Make --cell larger."
        )
    structure = np.empty(cells, dtype=np.float32)
    grid = BlockGrid(cells, _block_of(volume.spec, cell, cells))
    progress.begin([("mask", len(grid), 0)])
    try:
        for part, found in _measured(volume, cell, grid):
            structure[part.slices()] = found
            progress.advance("mask")
    finally:
        progress.close()
    return outline(structure, threshold, smallest)


def _block_of(spec: VolumeSpec, cell: Triple, cells: Triple) -> Triple:
    """Cells that are read together: about whole chunks, and more along the axis where these are shortest."""
    block = [min(n, max(1, round(c / side))) for n, c, side in zip(cells, spec.chunk, cell, strict=True)]

    def voxels(axis: int) -> int:
        return block[axis] * cell[axis]

    while True:
        short = [axis for axis in range(3) if block[axis] < cells[axis]]
        if not short or voxels(0) * voxels(1) * voxels(2) * 2 > _BLOCK:
            return triple(block)
        block[min(short, key=voxels)] *= 2


def _measured(volume: Volume, cell: Triple, grid: BlockGrid) -> Iterator[tuple[Box, npt.NDArray[np.float32]]]:
    """The structure of every block of cells, as they come; some are read while others are measured."""
    from ...pipeline.tissue import structure_of_cells

    def measure(part: Box) -> npt.NDArray[np.float32]:
        start = triple([a * side for a, side in zip(part.start, cell, strict=True)])
        ends = zip(part.stop, cell, grid.volume, volume.spec.shape, strict=True)
        stop = triple([length if b == cells else b * side for b, side, cells, length in ends])
        return structure_of_cells(volume.read(Box(start, stop)), cell, volume.spec.fill_value)

    with ThreadPoolExecutor(_THREADS, thread_name_prefix="mask") as pool:
        flying: list[tuple[Box, Future[npt.NDArray[np.float32]]]] = []
        try:
            for index in grid.indices():
                part = grid.box(index)
                flying.append((part, pool.submit(measure, part)))
                if len(flying) > _THREADS:
                    part, future = flying.pop(0)
                    yield part, future.result()
            for part, future in flying:
                yield part, future.result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _write(out: Path, spec: VolumeSpec, inside: npt.NDArray[np.bool_]) -> None:
    """The mask gets its name when it is whole."""
    unfinished = out.absolute().with_name(f".{out.name}")
    shutil.rmtree(unfinished, ignore_errors=True)
    try:
        create_volume(unfinished, spec).write(spec.box, inside.astype(np.uint8))
        unfinished.replace(out)
    except OSError as error:
        raise StorageError(f"The mask {out} cannot be written: {error.strerror or error}.") from error
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
