"""Training and validation patches out of labelled volumes: patch s of a seed is the same whenever it is asked for."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from .. import checksums
from ..errors import RequestError
from ..geometry import Box, Triple, triple
from ..networks.normalisation import Normalisation, as_tensor
from .augment_grey import change_appearance
from .augment_shape import Patch, displace_sections, draw_warp, exchange_axes, flip
from .augmentation_config import AugmentationConfig
from .offsets import Offsets
from .shape_descriptors import Deviation, shape_descriptors
from .targets import affinity_targets, erode_labels, known_labels

PATCHES = 2
"""Version of what patch number n of a seed is: trainings of another version cannot be resumed."""
ATTEMPTS = 1000
"""How many places are tried for a patch with enough labelled voxels."""


@dataclass(frozen=True)
class TrainingVolume:
    """Holds a labelled volume in memory.

    Args:
        image: grey values (Z, Y, X).
        labels: objects (Z, Y, X), 0 for background.
        mask: where the labels are known (Z, Y, X).
        normalisation: normalisation of the grey values.
        validation: boxes that are validated on; nothing is learned from their labels.
        exclude: further boxes whose labels are not learned from.
        weight: share of patches that come from this volume, relative to the others.
    """

    image: NDArray[np.generic]
    labels: NDArray[np.integer]
    mask: NDArray[np.bool_]
    normalisation: Normalisation
    validation: tuple[Box, ...] = ()
    exclude: tuple[Box, ...] = ()
    weight: float = 1.0

    def __post_init__(self) -> None:
        if not self.image.shape == self.labels.shape == self.mask.shape or self.image.ndim != 3:
            raise RequestError(
                "Image, labels and mask of a training volume must have one shape (Z, Y, X), found "
                f"{self.image.shape}, {self.labels.shape} and {self.mask.shape}."
            )
        for box in (*self.validation, *self.exclude):
            if not Box.of_shape(self.image.shape).contains(box) or box.is_empty:
                raise RequestError(f"The box {box} lies outside the training volume of shape {self.image.shape}.")

    def read(self, box: Box) -> NDArray[np.generic]:
        """Returns the grey values of a box."""
        return self.image[box.slices()]

    def identity(self) -> dict[str, Any]:
        """Returns plain values that a training depends on: boxes and numbers, and checksums of the volume's arrays."""
        boxes = {name: [str(box) for box in getattr(self, name)] for name in ("validation", "exclude")}
        arrays = {name: checksums.of_array(getattr(self, name)) for name in ("image", "labels", "mask")}
        shape, normalisation = list(self.image.shape), self.normalisation.model_dump()
        return {"shape": shape, "weight": self.weight, "normalisation": normalisation, **boxes, **arrays}

    def learnable(self) -> NDArray[np.bool_]:
        """Marks where labels may be learned from (Z, Y, X): the mask without the validation and excluded boxes."""
        mask = self.mask.copy()
        for box in (*self.validation, *self.exclude):
            mask[box.slices()] = False
        return mask


@dataclass(frozen=True)
class Example:
    """Holds a patch that the network sees, and the answers that it should give.

    Args:
        image: float32 (1, Z, Y, X).
        targets: targets of the affinities, uint8 (C, Z, Y, X).
        labels: labels that the targets are made of, int32 (Z, Y, X), `UNKNOWN` where they are.
        descriptors: float32 (10, Z, Y, X), not a number where there are none; or None.
    """

    image: Tensor
    targets: Tensor
    labels: Tensor
    descriptors: Tensor | None = None

    def tensors(self) -> list[Tensor]:
        """Returns the arrays that there are."""
        found = (self.image, self.targets, self.labels, self.descriptors)
        return [tensor for tensor in found if tensor is not None]


class PatchSampler:
    """Draws augmented training patches; patch number n depends on the seed and n alone.

    The volumes are copied to the device, in the type in which they are stored where torch computes with it, and patches
    are made there.

    Args:
        volumes: volumes to draw patches from.
        shape: shape of a patch, in voxels.
        offsets: offsets of the target channels.
        augmentation: changes that patches see.
        labelled: least fraction of known labels where a patch is taken from, before it is warped.
        erosion, erosion_depth: voxels by which labels are eroded in the plane and along z.
        seed: seed of everything random.
        device: where the volumes are kept and the patches made.
        descriptors: standard deviation of local shape descriptors along z, y, x, in voxels; or None.

    Raises:
        RequestError: a volume is smaller than a patch, or has nowhere enough labelled voxels (then on drawing), or z
            is to be exchanged in a patch that is no cube.
    """

    def __init__(
        self,
        volumes: Sequence[TrainingVolume],
        *,
        shape: Triple,
        offsets: Offsets,
        augmentation: AugmentationConfig,
        labelled: float,
        erosion: int,
        seed: int,
        device: str,
        erosion_depth: int = 0,
        descriptors: Deviation | None = None,
    ) -> None:
        for volume in volumes:
            if any(v < s for v, s in zip(volume.image.shape, shape, strict=True)):
                raise RequestError(
                    f"A training volume must be at least as large as a patch {shape}, found {volume.image.shape}. "
                    "Choose a smaller patch."
                )
        if augmentation.exchange_z and len(set(shape)) > 1:
            raise RequestError(f"With exchange_z a patch must be a cube, found {shape}. Use one, or leave it out.")
        self.masks = [volume.learnable() for volume in volumes]
        self.volumes = [
            Patch(as_tensor(volume.image).to(device), known_labels(volume.labels, mask).to(device))
            for volume, mask in zip(volumes, self.masks, strict=True)
        ]
        self.normalisations = [volume.normalisation for volume in volumes]
        self.odds = np.array([volume.weight for volume in volumes]) / sum(volume.weight for volume in volumes)
        self.shape, self.offsets, self.augmentation = shape, offsets, augmentation
        self.labelled, self.seed, self.descriptors = labelled, seed, descriptors
        self.erosion, self.erosion_depth = erosion, erosion_depth

    def draw(self, number: int) -> Example:
        """Draws training patch number `number`."""
        random = np.random.default_rng([self.seed, number])
        which = int(random.choice(len(self.volumes), p=self.odds))
        patch = self._cut(self.volumes[which], self.masks[which], random)
        image = change_appearance(self.normalisations[which].apply(patch.image), self.augmentation, random)
        labels = erode_labels(patch.labels, self.erosion, self.erosion_depth)
        shapes = None if self.descriptors is None else shape_descriptors(patch.labels, self.descriptors)
        return Example(image[None], affinity_targets(labels, self.offsets), labels, shapes)

    def _cut(self, volume: Patch, mask: NDArray[np.bool_], random: np.random.Generator) -> Patch:
        """A patch from a random place: sections displaced, then warped, then flipped."""
        warp, margin = draw_warp(self.shape, self.augmentation, random), self.augmentation.margin
        wanted = self.shape if warp is None else warp.extent(self.shape)
        sections = triple([min(w, v) for w, v in zip(wanted, mask.shape, strict=True)])
        box = triple([min(s + m, v) for s, m, v in zip(sections, (0, margin, margin), mask.shape, strict=True)])
        patch = displace_sections(volume, self._place(mask, box, random), sections, self.augmentation, random)
        if warp is not None:
            patch = warp.apply(patch, self.shape)
        if self.augmentation.flips:
            patch = flip(patch, random)
        return exchange_axes(patch, random) if self.augmentation.exchange_z else patch

    def _place(self, mask: NDArray[np.bool_], extent: Triple, random: np.random.Generator) -> Box:
        """A random box with enough labelled voxels, judged by every 8th of them along y and x."""
        room = [v - e + 1 for v, e in zip(mask.shape, extent, strict=True)]
        for _ in range(ATTEMPTS):
            box = Box.of_shape(extent, random.integers(0, room).tolist())
            if mask[box.slices()][:, ::8, ::8].mean() >= self.labelled:
                return box
        raise RequestError(
            f"Patches need at least {self.labelled:.0%} labelled voxels, and {ATTEMPTS} places of a training volume of "
            f"shape {mask.shape} had fewer. Lower `labelled`, or check the mask and the excluded boxes."
        )


def validation_examples(
    volumes: Sequence[TrainingVolume], shape: Triple, offsets: Offsets, limit: int
) -> list[Example]:
    """Returns fixed, unchanged patches that tile the validation boxes, evenly thinned to at most `limit`.

    Raises:
        RequestError: a validation box is smaller than a patch.
    """
    places = [(volume, box) for volume in volumes for whole in volume.validation for box in _tiles(whole, shape)]
    chosen = [places[i * len(places) // limit] for i in range(limit)] if len(places) > limit else places
    return [_unchanged(volume, box, offsets) for volume, box in chosen]


def _unchanged(volume: TrainingVolume, box: Box, offsets: Offsets) -> Example:
    image = volume.normalisation.apply(as_tensor(volume.image[box.slices()]))
    labels = known_labels(volume.labels[box.slices()], volume.mask[box.slices()])
    return Example(image[None], affinity_targets(labels, offsets), labels)


def _tiles(whole: Box, shape: Triple) -> Iterator[Box]:
    """As many boxes of a shape as fit into a box side by side, from its start."""
    counts = [w // s for w, s in zip(whole.shape, shape, strict=True)]
    if min(counts) < 1:
        raise RequestError(f"The validation box {whole} must be at least as large as a patch {shape}.")
    for index in itertools.product(*(range(n) for n in counts)):
        yield Box.of_shape(shape, [a + i * s for a, i, s in zip(whole.start, index, shape, strict=True)])
