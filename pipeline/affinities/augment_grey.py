"""Changes the look of a training patch: grey values, shading, noise, sections that are blurred or lack their image."""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from .augmentation_config import AugmentationConfig

GREY_RANGE = 3.0
"""Gamma acts on normalised grey values between minus and plus this many standard deviations."""


def change_appearance(image: Tensor, config: AugmentationConfig, random: np.random.Generator) -> Tensor:
    """Changes a normalised image (Z, Y, X), in place, to what another microscope might have taken, on its device."""
    if random.random() < config.defocus:
        defocus_sections(image, config, random)
    if random.random() < config.grey:
        change_grey(image, config, random)
    if config.shading > 0 and random.random() < config.shading:
        shade(image, config, random)
    if config.noise > 0:
        add_noise(image, random.uniform(0, config.noise), random)
    if config.missing_sections > 0 and random.random() < config.missing:
        remove_sections(image, config, random)
    return image


def defocus_sections(image: Tensor, config: AugmentationConfig, random: np.random.Generator) -> None:
    """Blurs a few sections in place, each by a Gaussian of its own width."""
    chosen = choose_sections(len(image), config.defocus_sections, random)
    deviations = random.uniform(0, config.defocus_deviation, len(chosen))
    reach = math.ceil(3 * deviations.max())
    distances = np.arange(-reach, reach + 1)
    kernels = np.exp(-0.5 * (distances / np.maximum(deviations, 1e-3)[:, None]) ** 2)
    weights = torch.from_numpy((kernels / kernels.sum(1, keepdims=True)).astype(np.float32)).to(image.device)
    sections = torch.from_numpy(chosen).to(image.device)
    blurred = F.pad(image[sections][None], (reach, reach, reach, reach), mode="replicate")
    for kernel in (weights[:, None, :, None], weights[:, None, None, :]):
        blurred = F.conv2d(blurred, kernel, groups=len(chosen))
    image[sections] = blurred[0]


def change_grey(image: Tensor, config: AugmentationConfig, random: np.random.Generator) -> None:
    """Changes contrast, brightness and gamma in place, of each section alone or of all alike."""
    count = len(image) if random.random() < config.grey_sections else 1
    contrast, brightness, gamma = (
        torch.from_numpy(values.astype(np.float32)).to(image.device)
        for values in (
            random.uniform(1 - config.contrast, 1 + config.contrast, (count, 1, 1)),
            random.uniform(-config.brightness, config.brightness, (count, 1, 1)),
            np.exp2(random.uniform(-config.gamma, config.gamma, (count, 1, 1))),
        )
    )
    image.mul_(contrast).add_(brightness)
    image.add_(GREY_RANGE).mul_(0.5 / GREY_RANGE).clamp_(0, 1).pow_(gamma).mul_(2 * GREY_RANGE).sub_(GREY_RANGE)


def shade(image: Tensor, config: AugmentationConfig, random: np.random.Generator) -> None:
    """Changes contrast and brightness in place, by values at points of a grid and what lies linearly between them."""
    points = [math.ceil(n / config.shading_spacing) + 1 for n in image.shape]
    drawn = np.stack(
        [
            random.uniform(1 - config.contrast, 1 + config.contrast, points),
            random.uniform(-config.brightness, config.brightness, points),
        ]
    )
    grid = torch.from_numpy(drawn[None].astype(np.float32)).to(image.device)
    ((contrast, brightness),) = F.interpolate(grid, tuple(image.shape), mode="trilinear", align_corners=True)
    image.mul_(contrast).add_(brightness)


def add_noise(image: Tensor, deviation: float, random: np.random.Generator) -> None:
    """Adds Gaussian noise in place; a GPU draws other noise than a CPU does."""
    generator = torch.Generator(image.device).manual_seed(int(random.integers(2**63)))
    image.add_(torch.randn(image.shape, generator=generator, device=image.device), alpha=deviation)


def remove_sections(image: Tensor, config: AugmentationConfig, random: np.random.Generator) -> None:
    """Fills a few sections, wholly or in one quadrant, with one grey value each, in place."""
    middle = [n // 2 for n in image.shape[1:]]
    for z in choose_sections(len(image), config.missing_sections, random):
        section = image[z]
        if random.random() < 0.5:
            rows, columns = (slice(None, m) if random.random() < 0.5 else slice(m, None) for m in middle)
            section = section[rows, columns]
        section.fill_(random.uniform(-GREY_RANGE, GREY_RANGE))


def choose_sections(count: int, most: int, random: np.random.Generator) -> NDArray[np.int64]:
    """Draws between one and `most` different sections out of `count`."""
    return random.choice(count, min(int(random.integers(1, most + 1)), count), replace=False)
