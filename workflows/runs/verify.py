"""Verifies a run: its volume, or a box of it, is cut into other blocks, and the results are compared bit for bit.

1. Of all that the run has segmented, its own segmentation is what the others must equal. A box is segmented by itself,
   and the others must equal what is computed from its affinities in memory, or, where they do not fit, what the first
   block shape gives.
2. For every block shape a run is made in a scratch folder, compared, and removed.
3. Supervoxels are compared by their canonical ids, as the segmentation in which nothing merges: a cut of each run.

Nothing is held of a volume but a block, or the box that fits.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ...pipeline.agglomeration.small_supervoxels import JoinRule
from ...pipeline.errors import RequestError, TaskError
from ...pipeline.geometry import BlockGrid, Box, Triple, triple
from ...pipeline.thresholds import Threshold
from ...pipeline.volumes import open_volume
from ..progress import Progress
from ..recipes.segmentation_recipe import Blocks, Output, Recipe, load
from ..report.ending import Ending
from ..run_directory import affinities as stored
from ..run_directory.checks import check_segmentation
from ..run_directory.layout import RECIPE
from ..run_directory.scratch import scratch_folder
from ..stages.places import Places
from .cut import plan_cut
from .run import run

# No mean is 1: edges of affinity 1 never lie between supervoxels, since no `high` is above 1.
_NOTHING_MERGES: dict[str, Any] = {"linkage": "mean", "threshold": 1, "small_size": 0, "dust_size": 0}

Read = Callable[[Box], npt.NDArray[np.uint64]]


@dataclass(frozen=True)
class Difference:
    """Counts the voxels in which two volumes differ, and names the first one (z, y, x), if any."""

    voxels: int
    first: Triple | None


@dataclass(frozen=True)
class Recut:
    """Holds the result of another way to cut the volume.

    Args:
        block: shape of its blocks, voxels.
        tasks: number of tasks.
        seconds: time that the cut took.
        segments, supervoxels: differences from the reference.
    """

    block: Triple
    tasks: int
    seconds: float
    segments: Difference
    supervoxels: Difference

    @property
    def identical(self) -> bool:
        return self.segments.voxels == self.supervoxels.voxels == 0


@dataclass(frozen=True)
class Verdict:
    """Holds the result of `verify`.

    Args:
        box: box that was compared, in voxels of the run's volume.
        reference: result that the others were compared with, in words.
        recuts: the others.
    """

    box: Box
    reference: str
    recuts: tuple[Recut, ...]

    @property
    def identical(self) -> bool:
        return all(recut.identical for recut in self.recuts)


@dataclass(frozen=True)
class _Result:
    name: str
    segments: Read
    supervoxels: Read
    tasks: int = 0
    seconds: float = 0.0


def verify(
    directory: Path,
    *,
    box: Box | None = None,
    blocks: Sequence[Triple] = (),
    scratch: Path | None = None,
    overrides: Sequence[str] = (),
    progress: Callable[[], Progress],
) -> Verdict:
    """Segment the affinities of a run again in other blocks, and compare.

    Args:
        directory: directory of a run, or a cut, whose segmentation is done and whose affinities are there.
        box: the part to look at, voxels of the volume; all of it unless given.
        blocks: block shapes; two unlike the run's own unless given.
        scratch: folder for what is removed afterwards; beside the run unless given.
        overrides: values laid over the run's recipe, "cluster.workers=4".
        progress: makes what is told of the progress of one run.

    Raises:
        RequestError: this is no finished run, the box lies outside, a block shape cannot work, or the run's supervoxels
            or linkage depend on blocks.
        TaskError: tasks failed, so that there is nothing to compare.
        StorageError: the scratch folder cannot be written.
    """
    directory = directory.absolute()
    check_segmentation(directory)
    recipe = load(directory / RECIPE, overrides)
    if recipe.sees_blocks:
        raise RequestError(
            f"Supervoxels by method 'mutex' and linkage 'multicut' depend on the blocks; {directory} has method"
            f" {recipe.supervoxels.method!r} and linkage {recipe.agglomeration.linkage!r}. There is nothing to verify."
        )
    volume = open_volume(Places.of(recipe, directory).fragments).spec.shape
    whole = stored.region_of(recipe) or Box.of_shape(volume)
    looked_at = whole if box is None else box
    if looked_at.is_empty or not whole.contains(looked_at):
        raise RequestError(
            f"The box must lie inside what was segmented and hold a voxel: {directory} is {whole}, the box is {box}."
        )
    shapes = list(dict.fromkeys(blocks)) or other_blocks(recipe.blocks.shape, looked_at.shape)
    grid = BlockGrid(volume, recipe.blocks.shape, looked_at)
    again = _from_affinities(recipe, directory, None if looked_at == Box.of_shape(volume) else looked_at)
    prefix, cure = f".{directory.name}-verify-", "Choose another with --scratch."
    with scratch_folder(scratch or directory.parent, prefix, cure) as folder:
        if looked_at == whole:
            reference = _own(directory, recipe, overrides, folder, progress)
        elif stored.fits_in_memory(looked_at):
            reference = _in_memory(again, grid)
        elif len(shapes) > 1:
            reference = _blockwise(again, shapes.pop(0), folder / "first", progress)
        else:
            raise RequestError(f"{looked_at} does not fit in memory: give two block shapes to compare.")
        recuts = []
        for shape in shapes:
            result = _blockwise(again, shape, folder / "other", progress)
            recuts.append(_compare(reference, result, shape, grid))
            shutil.rmtree(folder / "other")
    return Verdict(looked_at, reference.name, tuple(recuts))


def other_blocks(block: Triple, volume: Triple) -> list[Triple]:
    """Returns two block shapes that cut a volume elsewhere, one if blocks are small; neither takes more memory."""
    whole = [min(b, v) for b, v in zip(block, volume, strict=True)]
    shares = ((0.5, 0.75, 1), (1, 0.5, 0.75))
    found = {triple([_part(length, share) for length, share in zip(whole, some, strict=True)]) for some in shares}
    smaller = sorted(found - {triple(whole)})
    return smaller or [triple([2 * length for length in whole])]


def _part(length: int, share: float) -> int:
    """About a share of a length: a multiple of eight where there is room for some, so that chunks divide it."""
    step = 8 if length >= 32 else 1
    return length if share == 1 else max(1, round(length * share / step) * step)


def _from_affinities(recipe: Recipe, directory: Path, box: Box | None) -> Recipe:
    """The recipe that segments a box of the affinities of a run, or of the run that this was cut from, and no more."""
    source = stored.affinities_of(*stored.original_run(recipe, directory))
    source = source.model_copy(update={"box": None if box is None else (box.start, box.stop)})
    return recipe.model_copy(update={"input": source, "model": None, "output": Output(), "evaluate": None})


def _in_memory(recipe: Recipe, grid: BlockGrid) -> _Result:
    from ...pipeline.segment import segment_by

    affinities, wanted, rule = stored.read(recipe.input, grid.covered), recipe.supervoxels, recipe.agglomeration
    limits = Threshold.parse(wanted.low), Threshold.parse(wanted.high)
    join = JoinRule.parse(wanted.join_size, wanted.join_affinity)
    nothing_merges = rule.model_copy(update=_NOTHING_MERGES)
    segments, supervoxels = (segment_by(affinities, *limits, join, by) for by in (rule, nothing_merges))
    return _Result("in memory", _named_in_volume(segments, grid), _named_in_volume(supervoxels, grid))


def _named_in_volume(segments: npt.NDArray[np.uint64], grid: BlockGrid) -> Read:
    """Reads segments of a box that were named by their voxels in it, by the names of these voxels in the volume."""
    from ...pipeline.segmentation.supervoxels import linear_indices

    covered = grid.covered

    def read(box: Box) -> npt.NDArray[np.uint64]:
        found = segments[box.slices(covered.start)]
        inside = np.maximum(found, 1).astype(np.int64) - 1
        return np.where(found, linear_indices(inside, covered, grid.volume) + np.uint64(1), np.uint64(0))

    return read


def _own(
    directory: Path, recipe: Recipe, overrides: Sequence[str], folder: Path, progress: Callable[[], Progress]
) -> _Result:
    """Returns the segments and supervoxels that the run has left."""
    supervoxels = _supervoxels(directory, folder / "supervoxels", overrides, progress)
    segments = open_volume(Places.of(recipe, directory).segmentation)
    name = f"the run's own, in blocks of {list(recipe.blocks.shape)}"
    return _Result(name, segments.read, open_volume(str(supervoxels.segmentation)).read)


def _blockwise(recipe: Recipe, block: Triple, place: Path, progress: Callable[[], Progress]) -> _Result:
    segments = _finished(run(recipe.model_copy(update={"blocks": Blocks(shape=block)}), place, progress()))
    supervoxels = _supervoxels(place, place / "supervoxels", (), progress)
    return _Result(
        f"blocks of {list(block)}",
        open_volume(str(segments.segmentation)).read,
        open_volume(str(supervoxels.segmentation)).read,
        tasks=sum(stage.tasks for ending in (segments, supervoxels) for stage in ending.stages),
        seconds=segments.seconds + supervoxels.seconds,
    )


def _supervoxels(directory: Path, place: Path, overrides: Sequence[str], progress: Callable[[], Progress]) -> Ending:
    """A run's supervoxels, as a cut in which nothing merges."""
    settings = [f"agglomeration.{name}={value}" for name, value in _NOTHING_MERGES.items()]
    recipe, _ = plan_cut(directory, "1", [*settings, *overrides], place)
    return _finished(run(recipe.model_copy(update={"evaluate": None}), place, progress()))


def _finished(ending: Ending) -> Ending:
    if ending.failed:
        raise TaskError(f"There is nothing to compare: {ending.failed} tasks failed. {'; '.join(ending.failures)}")
    return ending


def _compare(one: _Result, other: _Result, block: Triple, grid: BlockGrid) -> Recut:
    return Recut(
        block=block,
        tasks=other.tasks,
        seconds=other.seconds,
        segments=difference(one.segments, other.segments, grid),
        supervoxels=difference(one.supervoxels, other.supervoxels, grid),
    )


def difference(one: Read, other: Read, grid: BlockGrid) -> Difference:
    """Compare two volumes block by block; the first place is given in voxels."""
    voxels, first = 0, None
    for index in grid.indices():
        box = grid.box(index)
        differs = one(box) != other(box)
        found = int(np.count_nonzero(differs))
        if found:
            inside = np.unravel_index(int(differs.argmax()), box.shape)
            place = triple([int(i) + start for i, start in zip(inside, box.start, strict=True)])
            voxels, first = voxels + found, place if first is None else min(first, place)
    return Difference(voxels, first)
