"""Variants of a training patch: what flips, misaligned or missing sections and a microscope's moods could have made."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, NonNegativeFloat, NonNegativeInt
from scipy.ndimage import gaussian_filter

from ..geometry import Triple

Probability = float
GREY_RANGE = 3.0
"""Gamma acts on normalised grey values between minus and plus this many standard deviations."""


class AugmentationConfig(BaseModel):
    """How often and how much a patch is changed. Probabilities are for each patch.

    Args:
        flips: mirror along every axis, and exchange y and x where the patch is square, each half of the time.
        slip: probability that one section is displaced.
        step: probability that all sections from one on are displaced.
        displacement: the largest displacement along y and x, in voxels.
        missing: probability that sections lack their image.
        missing_sections: the most sections that lack it, in one patch; each wholly or in one quadrant.
        defocus: probability that one section is blurred.
        defocus_deviation: the largest standard deviation of the blur, in voxels.
        grey: probability that contrast, brightness and gamma change, of each section alone or of the patch.
        contrast: contrast lies within 1 ± this.
        brightness: brightness is moved by up to this, in standard deviations of the volume's grey values.
        gamma: log2 of gamma lies within ± this.
        noise: the largest standard deviation of added Gaussian noise, in the same unit as brightness.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    flips: bool = True
    slip: Probability = Field(default=0.15, ge=0, le=1)
    step: Probability = Field(default=0.15, ge=0, le=1)
    displacement: NonNegativeInt = 16
    missing: Probability = Field(default=0.2, ge=0, le=1)
    missing_sections: NonNegativeInt = 2
    defocus: Probability = Field(default=0.15, ge=0, le=1)
    defocus_deviation: NonNegativeFloat = 3.0
    grey: Probability = Field(default=0.8, ge=0, le=1)
    contrast: float = Field(default=0.3, ge=0, lt=1)
    brightness: NonNegativeFloat = 0.6
    gamma: NonNegativeFloat = 0.7
    noise: NonNegativeFloat = 0.15


@dataclass(frozen=True)
class Patch:
    """A training patch: image, labels and where the labels are known, all of one shape (Z, Y, X)."""

    image: NDArray[np.generic]
    labels: NDArray[np.integer]
    mask: NDArray[np.bool_]


def sampling_shape(config: AugmentationConfig, patch: Triple) -> Triple:
    """Shape of what must be read so that a patch of the given shape can be cut from displaced sections."""
    margin = config.displacement if config.slip > 0 or config.step > 0 else 0
    return patch[0], patch[1] + margin, patch[2] + margin


def augment_geometry(sample: Patch, shape: Triple, config: AugmentationConfig, random: np.random.Generator) -> Patch:
    """A patch of the given shape out of a larger sample: sections displaced, then flipped and transposed.

    Image, labels and mask move together, so that the targets are those of what is seen.
    """
    origins = section_origins(sample.image.shape, shape, config, random)
    flipped = tuple(axis for axis in range(3) if config.flips and random.random() < 0.5)
    swap = config.flips and shape[1] == shape[2] and random.random() < 0.5

    def cut(array: NDArray[np.generic]) -> NDArray[np.generic]:
        sections = [section[y : y + shape[1], x : x + shape[2]] for section, (y, x) in zip(array, origins, strict=True)]
        turned = np.flip(np.stack(sections), axis=flipped)
        return np.ascontiguousarray(turned.swapaxes(1, 2) if swap else turned)

    return Patch(cut(sample.image), cut(sample.labels), cut(sample.mask))  # type: ignore[arg-type]


def section_origins(
    sampled: tuple[int, ...], shape: Triple, config: AugmentationConfig, random: np.random.Generator
) -> NDArray[np.int64]:
    """Where each section of the patch begins in the sample (Z, 2): one place for all, but for a slip and a step."""
    room = [sampled[1] - shape[1] + 1, sampled[2] - shape[2] + 1]
    origins = np.broadcast_to(random.integers(0, room), (shape[0], 2)).copy()
    if random.random() < config.step:
        origins[random.integers(0, shape[0]) :] = random.integers(0, room)
    if random.random() < config.slip:
        origins[random.integers(0, shape[0])] = random.integers(0, room)
    return origins


def augment_image(
    image: NDArray[np.float32], config: AugmentationConfig, random: np.random.Generator
) -> NDArray[np.float32]:
    """A normalised image (Z, Y, X) with other grey values, noise, blurred and missing sections; changed in place."""
    if random.random() < config.grey:
        change_grey(image, config, random)
    if config.noise > 0:
        image += random.uniform(0, config.noise) * random.standard_normal(image.shape, dtype=np.float32)
    if random.random() < config.defocus:
        section = image[random.integers(0, len(image))]
        section[:] = gaussian_filter(section, random.uniform(0, config.defocus_deviation))
    if config.missing_sections > 0 and random.random() < config.missing:
        remove_sections(image, config, random)
    return image


def change_grey(image: NDArray[np.float32], config: AugmentationConfig, random: np.random.Generator) -> None:
    """Changes contrast, brightness and gamma in place, of each section alone or, half of the time, of all alike."""
    count = len(image) if random.random() < 0.5 else 1
    contrast = random.uniform(1 - config.contrast, 1 + config.contrast, (count, 1, 1)).astype(np.float32)
    brightness = random.uniform(-config.brightness, config.brightness, (count, 1, 1)).astype(np.float32)
    gamma = np.exp2(random.uniform(-config.gamma, config.gamma, (count, 1, 1))).astype(np.float32)
    image *= contrast
    image += brightness
    image += np.float32(GREY_RANGE)
    image *= np.float32(0.5 / GREY_RANGE)
    np.clip(image, 0, 1, out=image)
    np.power(image, gamma, out=image)
    image *= np.float32(2 * GREY_RANGE)
    image -= np.float32(GREY_RANGE)


def remove_sections(image: NDArray[np.float32], config: AugmentationConfig, random: np.random.Generator) -> None:
    """Fills a few sections, wholly or in one quadrant, with one grey value each, in place."""
    count = min(int(random.integers(1, config.missing_sections + 1)), len(image))
    middle = np.asarray(image.shape[1:]) // 2
    for z in random.choice(len(image), count, replace=False):
        section = image[z]
        if random.random() < 0.5:
            rows, columns = (slice(None, m) if random.random() < 0.5 else slice(m, None) for m in middle)
            section = section[rows, columns]
        section[:] = random.uniform(-GREY_RANGE, GREY_RANGE)
