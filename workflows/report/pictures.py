"""The scenes that a report shows: the worst merger and the worst split, or the middle of the volume, in pictures.

A scene is a place and the labels that matter there; it has a picture of each volume of the run: the raw image, the
affinities, the segmentation and the truth.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from ...pipeline.affinities.nearest import Channels, read_nearest
from ...pipeline.geometry import Box, Triple
from ...pipeline.labels import object_ids
from ...pipeline.volumes import Volume, VolumeSource, open_volume
from . import drawing
from .drawing import Pixels, View

if TYPE_CHECKING:
    from ...pipeline.evaluation.scores import Scores


@dataclass(frozen=True)
class Volumes:
    """Names the volumes of a run, as far as there are any.

    Args:
        segmentation: its path; it gives the frame of all scenes.
        raw, affinities: on the same voxels.
        channels: where the nearest-neighbour affinities lie in their volume.
        truth: the true labels.
        truth_offset: where the truth's first voxel lies in the segmentation, voxels.
        segmented: the box that is segmented; all of the volume where it is None.
    """

    segmentation: str
    raw: VolumeSource | None
    affinities: VolumeSource | None
    channels: Channels
    truth: VolumeSource | None
    truth_offset: Triple
    segmented: Box | None = None


@dataclass(frozen=True)
class Picture:
    """Holds a composed picture as the page shows it; lengths are shares of its width or height, in percent."""

    caption: str
    png: str
    width: int
    height: int
    section_width: float
    section_height: float
    bar: float
    bar_label: str


@dataclass(frozen=True)
class Scene:
    """Describes a place that a report shows.

    Args:
        title: what is to be seen there.
        centre: the voxel through which the planes go.
        segments, objects: the labels of segmentation and truth that are coloured; None for all.
    """

    title: str
    centre: Triple
    segments: tuple[int, ...] | None = None
    objects: tuple[int, ...] | None = None


def draw_scenes(volumes: Volumes, scores: Scores | None) -> list[tuple[str, list[Picture]]]:
    """Returns the title and the pictures of each scene; three planes of a bounded window are read of each volume.

    Raises:
        VolumeError, StorageError: a volume cannot be read.
    """
    segmentation = open_volume(volumes.segmentation)
    scenes = worst_mistakes(scores) or [_middle(volumes, segmentation)]
    return [(scene.title, list(_pictures(scene, volumes, segmentation))) for scene in scenes]


def worst_mistakes(scores: Scores | None) -> list[Scene]:
    """Returns the merger and the split that cost most voxels, as far as there is one."""
    scenes = []
    for merger in () if scores is None else scores.mergers[:1]:
        title = (
            f"Worst merger: segment {merger.segment} is mainly object {merger.truth} and has {merger.voxels:,} voxels"
            f" of object {merger.piece}"
        )
        scenes.append(_scene(title, merger.voxel, (merger.segment,), (merger.truth, merger.piece)))
    for split in () if scores is None else scores.splits[:1]:
        title = (
            f"Worst split: object {split.truth} is mainly segment {split.segment} and lost {split.voxels:,} voxels to"
            f" segment {split.piece}"
        )
        scenes.append(_scene(title, split.voxel, (split.segment, split.piece), (split.truth,)))
    return scenes


def _scene(title: str, centre: Triple, segments: tuple[int, ...], objects: tuple[int, ...]) -> Scene:
    return Scene(f"{title}, at z, y, x = {', '.join(map(str, centre))}", centre, segments, objects)


def _middle(volumes: Volumes, segmentation: Volume) -> Scene:
    """The middle of the truth where there is one, of what is segmented otherwise."""
    box = volumes.segmented or segmentation.spec.box
    if volumes.truth is not None:
        box = Box.of_shape(volumes.truth.open().spec.shape, volumes.truth_offset).intersect(box)
    z, y, x = ((a + b) // 2 for a, b in zip(box.start, box.stop, strict=True))
    return Scene(f"The middle, at z, y, x = {z}, {y}, {x}", (z, y, x))


def _pictures(scene: Scene, volumes: Volumes, segmentation: Volume) -> Iterator[Picture]:
    view = View.around(scene.centre, segmentation.spec.shape, segmentation.spec.voxel_size)
    labels = view.panes(segmentation.read)
    under = [np.full((*pane.shape, 3), 128, np.uint8) for pane in labels]
    found = None
    if volumes.affinities is not None:
        stored, channels = volumes.affinities.open(), volumes.channels
        found = view.panes(lambda box: read_nearest(stored.read, box, stored.spec.shape, channels, stored.path))
        under = drawing.grey([pane.mean(axis=-1) for pane in found])
    if volumes.raw is not None:
        under = drawing.grey(view.panes(volumes.raw.open().read))
        yield _picture("Raw image", view, under)
    if found is not None:
        yield _picture("Affinities: z red, y green, x blue; dark is a boundary", view, list(found))
    yield _picture("Segmentation: one colour a segment", view, _overlay(under, labels, scene.segments))
    if volumes.truth is not None:
        truth = volumes.truth.open()
        true = view.panes(lambda box: object_ids(_read_shifted(truth, box, volumes.truth_offset), "truth"))
        caption = "Truth: one colour an object, unrelated to those of the segments"
        yield _picture(caption, view, _overlay(under, true, scene.objects))


def _overlay(
    under: list[Pixels], labels: tuple[npt.NDArray[np.integer], ...], coloured: tuple[int, ...] | None
) -> list[Pixels]:
    """The labels that are coloured, over grey levels."""
    if coloured is None:
        return drawing.overlay(under, labels)
    wanted = np.array(coloured, np.uint64)
    chosen = [np.where(np.isin(pane.astype(np.uint64), wanted), pane, pane.dtype.type(0)) for pane in labels]
    return drawing.overlay(under, chosen)


def _read_shifted(volume: Volume, box: Box, offset: Triple) -> npt.NDArray[np.generic]:
    """A box in another volume's voxels; 0 where the volume has none."""
    there = Box.of_shape(volume.spec.shape, offset).intersect(box)
    values = np.zeros(box.shape, volume.spec.dtype)
    if not there.is_empty:
        values[there.slices(box.start)] = volume.read(there.shift([-o for o in offset]))
    return values


def _picture(caption: str, view: View, panes: list[Pixels]) -> Picture:
    image = view.compose(panes)
    height, width = image.shape[:2]
    length = _bar_length(view.pixels[2] * view.pixel / 4)
    return Picture(
        caption=caption,
        png=base64.b64encode(drawing.png(image)).decode("ascii"),
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
