"""`petavox tune`: the thresholds that segment a labelled box best, by cutting its graph again; nothing is predicted.

1. The box is cut in two. One half chooses; the labels of the other are read when the choice has been made.
2. The affinities of the whole box, and of what is segmented around it, are read once. For every low and high they
   become supervoxels and contacts, whose contingency table with the truth is counted once.
3. Everything else merges that graph, and scores the table: no voxel is touched again.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from ...pipeline.agglomeration.small_supervoxels import JoinRule
from ...pipeline.errors import RequestError
from ...pipeline.evaluation.contingency import Contingency, check_scorable, count
from ...pipeline.evaluation.scores import Scores, score
from ...pipeline.geometry import Box, Triple, triple
from ...pipeline.segment import SegmentGraph, falling_thresholds, oversegment
from ...pipeline.segmentation.supervoxels import Fragments
from ...pipeline.thresholds import Threshold
from ...pipeline.volumes import VolumeSpec
from ...tasks import contingency
from ..progress import Progress
from ..recipes.segmentation_recipe import Agglomeration, Input, Output, Recipe, Supervoxels, load
from ..recipes.tuning_grid import TuningGrid
from ..run_directory import affinities as stored
from ..run_directory.checks import check_affinities, check_run_directory
from ..run_directory.layout import RECIPE
from ..stages.places import Places
from ..stages.scoring import plan_contingency

Axis = Literal["z", "y", "x", "none"]
Half = Literal["first", "second"]
AXES: tuple[Axis, ...] = get_args(Axis)
HALVES: tuple[Half, ...] = get_args(Half)


@dataclass(frozen=True)
class Trial:
    """Holds one choice of everything, and how wrong it is on the labels that choose.

    Args:
        supervoxels, agglomeration: as a recipe has them.
        adapted_rand_error, voi_split, voi_merge: see `Scores`.
    """

    supervoxels: Supervoxels
    agglomeration: Agglomeration
    adapted_rand_error: float
    voi_split: float
    voi_merge: float

    @property
    def rank(self) -> tuple[float, float]:
        """Trials are ranked by the error, and where it is the same by the variation of information."""
        return self.adapted_rand_error, self.voi_split + self.voi_merge


@dataclass(frozen=True)
class ScoredBox:
    """Names a box of the run's volume, and how wrong the chosen segmentation is there; None without a label."""

    name: str
    box: Box
    scores: Scores | None


@dataclass(frozen=True)
class Tuning:
    """Holds the choice that `tune` made, and everything that it tried.

    Args:
        grid: values that were tried.
        trials: all of it, in the order in which it was tried.
        chosen: the best of them.
        parts: the half that chose, the other one, and the whole box; or the box alone.
        recipe: recipe of the run, with what was chosen, from the affinities on.
    """

    grid: TuningGrid
    trials: tuple[Trial, ...]
    chosen: Trial
    parts: tuple[ScoredBox, ...]
    recipe: Recipe


def tune(
    directory: Path,
    *,
    grid: TuningGrid,
    progress: Progress,
    box: Box | None = None,
    split: Axis | None = None,
    half: Half = "first",
    context: Triple = (0, 0, 0),
    overrides: Sequence[str] = (),
) -> Tuning:
    """Choose the thresholds of a run's recipe on a part of its volume that has a truth.

    Args:
        directory: directory of a run, or a cut, whose affinities are there.
        grid: values to try.
        progress: is told of each low and high.
        box: voxels of the run's volume; all of the truth unless given.
        split: the axis along which the box is cut in two; its longest unless given. "none": the whole box chooses.
        half: half that chooses.
        context: voxels around the box, as far as the volume goes, that are segmented with it and not scored: objects
            may meet there.
        overrides: values laid over the run's recipe, "evaluate.truth=labels.zarr".

    Raises:
        RequestError: this is no run, its affinities are not done, there is no truth, the box lies outside, cannot be
            cut or does not fit in memory, or its supervoxels are of method "mutex".
        VolumeError: affinities or truth are missing, or where they should choose no voxel has a label.
    """
    directory = directory.absolute()
    check_run_directory(directory)
    recipe = load(directory / RECIPE, ("output.until=segmentation", *overrides))  # affinities alone may be there
    before, place = stored.original_run(recipe, directory)
    check_affinities(place)
    source = stored.affinities_of(before, place)
    assert source.affinities is not None
    affinities = source.affinities.open().spec
    scoring = _scoring(recipe, directory, affinities, box, source.region)
    whole = Box(scoring.start, scoring.stop)
    if recipe.supervoxels.method != "watershed":
        raise RequestError(
            f"Thresholds are chosen for supervoxels of method 'watershed'; {directory} has"
            f" {recipe.supervoxels.method!r}. Lay the other over it: --set supervoxels.method=watershed"
        )
    if min(context) < 0:
        raise RequestError(f"Context is counted in voxels along z, y, x; found {context}.")
    segmented = whole.grow(context).intersect(source.region or affinities.box)
    if not stored.fits_in_memory(segmented):
        raise RequestError(
            f"What is segmented must fit in half of the free memory; {segmented} does not. Give a smaller --box, or"
            " less --context."
        )
    boxes = _parts(whole, split, half)
    given = _Given(stored.read(source, segmented), segmented, scoring)
    trials = tuple(_trials(given, next(iter(boxes.values())), recipe, grid, progress))
    chosen = min(trials, key=lambda trial: trial.rank)
    return Tuning(grid, trials, chosen, tuple(_judge(given, boxes, chosen)), _written(recipe, source, chosen))


@dataclass(frozen=True)
class _Given:
    """Holds the affinities that are segmented, and the truth that scores them.

    Args:
        affinities: uint8 (3, Z, Y, X) of a box.
        box: that one, in voxels of the volume.
        scoring: where the truth is.
    """

    affinities: npt.NDArray[np.uint8]
    box: Box
    scoring: contingency.Config

    def count(self, box: Box, fragments: Fragments) -> Contingency:
        """The contingency table of truth and fragments; of the truth, nothing beyond the box is looked at."""
        wanted = self.scoring.model_copy(update={"start": box.start, "stop": box.stop})
        truth = contingency.read_truth(wanted, box)
        table = count(truth.labels, fragments.labels[box.slices(self.box.start)], mask=truth.mask, origin=box.start)
        return replace(table, unknown=truth.unknown)


def _scoring(
    recipe: Recipe, directory: Path, affinities: VolumeSpec, box: Box | None, region: Box | None
) -> contingency.Config:
    wanted = recipe.evaluate
    if wanted is None:
        raise RequestError(
            f"Thresholds are chosen by a truth, and the recipe of {directory} names none."
            " Name one: --set evaluate.truth=LABELS"
        )
    if box is None and wanted.box is not None:
        box = Box(*wanted.box)
    spec = VolumeSpec(affinities.shape, "uint64", affinities.voxel_size, affinities.translation)
    return plan_contingency(
        Places.of(recipe, directory).segmentation,
        spec,
        wanted.truth,
        mask=wanted.mask,
        offset=wanted.offset,
        box=box,
        tolerance=wanted.tolerance,
        block=spec.shape,
        region=region,
    )


def _parts(whole: Box, split: Axis | None, half: Half) -> dict[str, Box]:
    """The boxes that are scored, the one that chooses first."""
    if split == "none":
        return {"box": whole}
    axis = "zyx".index(split) if split else max(range(3), key=lambda k: (whole.shape[k], k))
    if whole.shape[axis] < 2:
        raise RequestError(
            f"A box is cut in two along {'zyx'[axis]}; {whole} has one voxel there. Cut another axis: --split"
        )
    middle = whole.start[axis] + whole.shape[axis] // 2
    ends = [triple([middle if k == axis else end[k] for k in range(3)]) for end in (whole.stop, whole.start)]
    halves = {"first half": Box(whole.start, ends[0]), "second half": Box(ends[1], whole.stop)}
    chooses = f"{half} half"
    return {chooses: halves.pop(chooses), **halves, "box": whole}


def _trials(given: _Given, box: Box, recipe: Recipe, grid: TuningGrid, progress: Progress) -> Iterator[Trial]:
    cuts, linkages = grid.cuts(), list(grid.linkages(recipe.agglomeration))
    if not cuts or not any(linkages):
        raise RequestError("No values go together: some low must not exceed some high, some small rule some threshold.")
    progress.begin([("tune", len(cuts), 0)])
    try:
        for low, high in cuts:
            limits = Threshold.parse(low), Threshold.parse(high)
            fragments, contacts = oversegment(given.affinities, *limits, grid.levels(recipe.agglomeration))
            table = given.count(box, fragments)
            check_scorable(table)
            for supervoxels in grid.supervoxels(recipe.supervoxels, low, high):
                graph = SegmentGraph.of_fragments(fragments, contacts, _join(supervoxels))
                joined = graph.as_fragments(table)
                for agglomerations in linkages:
                    yield from _merge(*joined, supervoxels, agglomerations)
            progress.advance("tune")
    finally:
        progress.close()


def _merge(
    graph: SegmentGraph, table: Contingency, supervoxels: Supervoxels, agglomerations: Sequence[Agglomeration]
) -> Iterator[Trial]:
    """The trials of one graph, one linkage and one veto."""
    if not agglomerations:
        return
    unlike = {agglomeration.merge_rule(): agglomeration for agglomeration in agglomerations}
    for rule, cut in falling_thresholds(graph, table, unlike.values()):
        found = score(cut)
        yield Trial(supervoxels, rule, found.adapted_rand_error, found.voi_split, found.voi_merge)


def _judge(given: _Given, boxes: dict[str, Box], chosen: Trial) -> Iterator[ScoredBox]:
    supervoxels, agglomeration = chosen.supervoxels, chosen.agglomeration
    limits = Threshold.parse(supervoxels.low), Threshold.parse(supervoxels.high)
    fragments, contacts = oversegment(given.affinities, *limits, agglomeration.histogram_levels)
    graph = SegmentGraph.of_fragments(fragments, contacts, _join(supervoxels))
    segments = graph.segments(agglomeration)
    for name, box in boxes.items():
        table = given.count(box, fragments).of_coarser_segments(segments)
        yield ScoredBox(name, box, score(table) if len(table) else None)


def _join(supervoxels: Supervoxels) -> JoinRule:
    return JoinRule.parse(supervoxels.join_size, supervoxels.join_affinity)


def _written(recipe: Recipe, source: Input, chosen: Trial) -> Recipe:
    """The run's recipe from the affinities on, with what was chosen."""
    changed = {"supervoxels": chosen.supervoxels, "agglomeration": chosen.agglomeration}
    output = Output(chunk=recipe.output.chunk)
    return recipe.model_copy(update={"input": source, "model": None, "output": output, **changed})
