"""The report of a run: one self-contained HTML page with scores, times, memory and pictures."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from ..pipeline.affinities.nearest import Channels, read_nearest
from ..pipeline.errors import PetavoxError
from ..pipeline.files import write_text
from ..pipeline.geometry import Box, Triple
from ..pipeline.labels import object_ids
from .entries import Summary

if TYPE_CHECKING:
    from ..pipeline.evaluation.scores import Scores
    from ..pipeline.volumes import Volume, VolumeSpec
    from .pictures import Pixels, View


@dataclass(frozen=True)
class ReportData:
    """What a run knows about itself.

    Args:
        title: names the run.
        recipe: the resolved recipe, TOML.
        stages: what the ledger says of each stage, in order.
        seconds: from the start of the run to its end.
        segmentation: path of the segmentation, if there is one.
        raw, affinities, truth: paths of the volumes that there are, on the segmentation's grid of voxels.
        channels: where the nearest-neighbour affinities lie in their volume.
        truth_offset: where the truth's first voxel lies in the segmentation, voxels.
        scores: if there is a truth.
        segment_sizes: how many segments have 1, 2–3, 4–7, … voxels.
        failures: one line for each failed task worth showing.
        versions: of what computed this, by name.
    """

    title: str
    recipe: str
    stages: tuple[Summary, ...]
    seconds: float
    segmentation: str | None = None
    raw: str | None = None
    affinities: str | None = None
    truth: str | None = None
    channels: Channels = Channels()  # noqa: RUF009 - frozen
    truth_offset: Triple = (0, 0, 0)
    scores: Scores | None = None
    segment_sizes: tuple[int, ...] = ()
    failures: tuple[str, ...] = ()
    versions: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Picture:
    """A composed picture as the page shows it; lengths are shares of its width or height, in percent."""

    caption: str
    png: str
    width: int
    height: int
    section_width: float
    section_height: float
    bar: float
    bar_label: str


def write_report(run_directory: str | Path, data: ReportData) -> Path:
    """Write report.html into a run directory, whole or not at all; it holds its images and loads nothing.

    Only three planes of a bounded window are read of each volume, whatever its size. A run that failed has a report
    too: where a volume cannot be read, the page says so in place of the pictures.

    Raises:
        StorageError: the page cannot be written.
    """
    from jinja2 import Environment

    try:
        pictures, missing = _pictures(data), ""
    except PetavoxError as error:
        pictures, missing = [], str(error)
    template = resources.files(__package__).joinpath("report.html").read_text("utf-8")
    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {"duration": duration, "memory": memory}
    page = environment.from_string(template).render(
        data=data,
        verdict=verdict(data),
        pictures=pictures,
        missing=missing,
        sizes=_size_bars(data.segment_sizes),
        longest=max([stage.seconds for stage in data.stages], default=0) or 1,
        largest=max([stage.peak_memory for stage in data.stages], default=0) or 1,
        **_scores(data.scores),
    )
    target = Path(run_directory) / "report.html"
    write_text(target, page)
    return target


def verdict(data: ReportData) -> str:
    """The run in one sentence."""
    tasks, failed = sum(stage.tasks for stage in data.stages), sum(stage.failed + stage.aside for stage in data.stages)
    done = sum(stage.settled for stage in data.stages)
    made = "prediction" if data.segmentation is None else "segmentation"
    segments = f"{sum(data.segment_sizes):,} segments"
    if failed:
        return f"{failed:,} of {tasks:,} tasks failed: the {made} is not complete."
    if done < tasks:
        return f"{done:,} of {tasks:,} tasks are done: the {made} is not complete."
    if data.segmentation is None:
        return f"{done:,} blocks predicted in {duration(data.seconds)}."
    if data.scores is None:
        return f"{segments} in {duration(data.seconds)}; there was no truth to score them against."
    return f"Adapted Rand error {data.scores.adapted_rand_error:.4f}: {segments} in {duration(data.seconds)}."


def duration(seconds: float) -> str:
    """1.2 s, 3 min 20 s, 5 h 2 min."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60:,} h {minutes % 60} min"


def memory(count: int) -> str:
    """Bytes as MB or GB."""
    return f"{count / 1e9:.2f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB"


def _scores(scores: Scores | None) -> dict[str, object]:
    if scores is None:
        return {"score_rows": [], "mistakes": {}}
    from .evaluate import mistake_tables, score_rows

    return {"score_rows": score_rows(scores), "mistakes": mistake_tables(scores)}


def _size_bars(counts: tuple[int, ...]) -> list[tuple[str, int, float]]:
    """(smallest size, segments, height in percent) from the first size that occurs to the last."""
    occurring = [power for power, count in enumerate(counts) if count]
    if not occurring:
        return []
    # Square roots, so that the few large segments can be seen beside the many small ones.
    most = max(counts) ** 0.5
    shown = range(occurring[0], occurring[-1] + 1)
    return [(_short(1 << power), counts[power], 100 * counts[power] ** 0.5 / most) for power in shown]


def _short(count: int) -> str:
    for unit, name in ((1 << 40, "T"), (1 << 30, "G"), (1 << 20, "M"), (1 << 10, "k")):
        if count >= unit:
            return f"{count // unit}{name}"
    return str(count)


def _pictures(data: ReportData) -> list[Picture]:
    from ..pipeline.volumes import open_volume
    from . import pictures

    if data.segmentation is None:
        return []
    segmentation = open_volume(data.segmentation)
    truth = None if data.truth is None else open_volume(data.truth)
    view = _view(segmentation.spec, truth, data.truth_offset)
    labels = view.panes(segmentation.read)
    shown: list[tuple[str, list[Pixels]]] = []
    under = [np.full((*pane.shape, 3), 128, np.uint8) for pane in labels]
    if data.affinities is not None:
        affinities = open_volume(data.affinities)
        panes = view.panes(
            lambda box: read_nearest(affinities.read, box, affinities.spec.shape, data.channels, affinities.path)
        )
        shown.append(("Affinities: z red, y green, x blue; dark is a boundary", list(panes)))
        under = pictures.grey([pane.mean(axis=-1) for pane in panes])
    if data.raw is not None:
        under = pictures.grey(view.panes(open_volume(data.raw).read))
        shown.insert(0, ("Raw image", under))
    shown.append(("Segmentation: one colour a segment", pictures.overlay(under, labels)))
    if truth is not None:
        true = view.panes(lambda box: object_ids(_read_shifted(truth, box, data.truth_offset), "truth"))
        shown.append(("Truth: one colour an object, unrelated to those of the segments", pictures.overlay(under, true)))
    return [_picture(caption, view, panes) for caption, panes in shown]


def _view(spec: VolumeSpec, truth: Volume | None, offset: Triple) -> View:
    """Around the middle of the truth where there is one, of the volume otherwise."""
    from .pictures import View

    whole = Box.of_shape(spec.shape)
    looked_at = whole if truth is None else Box.of_shape(truth.spec.shape, offset).intersect(whole)
    z, y, x = ((a + b) // 2 for a, b in zip(looked_at.start, looked_at.stop, strict=True))
    return View.around((z, y, x), spec.shape, spec.voxel_size)


def _read_shifted(volume: Volume, box: Box, offset: Triple) -> npt.NDArray[np.generic]:
    """A box in another volume's voxels; 0 where the volume has none."""
    there = Box.of_shape(volume.spec.shape, offset).intersect(box)
    values = np.zeros(box.shape, volume.spec.dtype)
    if not there.is_empty:
        values[there.slices(box.start)] = volume.read(there.shift([-o for o in offset]))
    return values


def _picture(caption: str, view: View, panes: list[Pixels]) -> Picture:
    from . import pictures

    image = view.compose(panes)
    height, width = image.shape[:2]
    length = _bar_length(view.pixels[2] * view.pixel / 4)
    return Picture(
        caption=caption,
        png=base64.b64encode(pictures.png(image)).decode("ascii"),
        width=width,
        height=height,
        section_width=100 * view.pixels[2] / width,
        section_height=100 * view.pixels[1] / height,
        bar=100 * length / view.pixel / width,
        bar_label=f"{length / 1000:g} µm" if length >= 1000 else f"{length:g} nm",
    )


def _bar_length(most: float) -> float:
    """The largest of 1, 2, 5, 10, … nm that is not above `most`."""
    power = 10.0 ** np.floor(np.log10(most))
    return float(power * max(step for step in (1, 2, 5) if step * power <= most))
