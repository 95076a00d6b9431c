"""The report of a run: one self-contained HTML page with scores, times, memory and pictures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from typing import TYPE_CHECKING

from ...cluster.quantities import duration, in_bytes
from ...pipeline.errors import PetavoxError
from ...pipeline.files import write_text
from .ending import Ending, segments_text

if TYPE_CHECKING:
    from ...pipeline.evaluation.scores import Scores
    from .pictures import Volumes


@dataclass(frozen=True)
class ReportData:
    """Holds everything that a run tells its report.

    Args:
        ending: how the run ended, stage by stage.
        recipe: the resolved recipe, TOML.
        volumes: volumes that pictures are drawn of; None where nothing was segmented.
        versions: versions of petavox, Python and packages, by name.
    """

    ending: Ending
    recipe: str
    volumes: Volumes | None
    versions: Mapping[str, str]


def write_report(data: ReportData) -> None:
    """Write the report of a run into its directory, whole or not at all; it holds its images and loads nothing.

    Only a few planes of bounded windows are read of each volume, whatever its size. A run that failed has a report
    too: where a volume cannot be read, the page says so in place of the pictures.

    Raises:
        StorageError: the page cannot be written.
    """
    from jinja2 import Environment

    ending, scenes, missing = data.ending, [], ""
    try:
        if data.volumes is not None:
            from .pictures import draw_scenes

            scenes = draw_scenes(data.volumes, ending.scores)
    except PetavoxError as error:
        missing = str(error)
    template = resources.files(__package__).joinpath("report.html").read_text("utf-8")
    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {"duration": duration, "in_bytes": in_bytes}
    page = environment.from_string(template).render(
        data=data,
        ending=ending,
        verdict=verdict(data),
        scenes=scenes,
        missing=missing,
        sizes=_size_bars(ending.segment_sizes),
        longest=max([stage.seconds for stage in ending.stages], default=0) or 1,
        largest=max([stage.peak_memory for stage in ending.stages], default=0) or 1,
        **_scores(ending.scores),
    )
    write_text(ending.report, page)


def verdict(data: ReportData) -> str:
    """Sums up the run in one sentence."""
    ending, stages = data.ending, data.ending.stages
    tasks, failed = sum(stage.tasks for stage in stages), sum(stage.failed + stage.aside for stage in stages)
    done = sum(stage.settled for stage in stages)
    made = "prediction" if ending.segmentation is None else "segmentation"
    segments = f"{segments_text(ending.segment_sizes)}, in {duration(ending.seconds)}"
    if failed:
        return f"{failed:,} of {tasks:,} tasks failed: the {made} is not complete."
    if done < tasks:
        return f"{done:,} of {tasks:,} tasks are done: the {made} is not complete."
    if ending.segmentation is None:
        return f"{done:,} blocks predicted in {duration(ending.seconds)}."
    if ending.scores is None:
        return f"Segments: {segments}; there was no truth to score them against."
    return f"Adapted Rand error {ending.scores.adapted_rand_error:.4f}; segments: {segments}."


def _scores(scores: Scores | None) -> dict[str, object]:
    if scores is None:
        return {"score_rows": [], "mistakes": {}}
    from .score_rows import mistake_tables, score_rows

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
