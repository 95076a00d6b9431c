"""Moves the voxels of a training patch: misaligned sections, warps in the plane, flips.

Image and labels are taken from the same places, so that the targets are those of what is seen: a shift is a copy, a
flip a change of order, and a warp looks the image up between voxels and the labels at the nearest one. All of it
happens on the device on which the volume lies.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from ..geometry import Box, Triple
from .augmentation_config import AugmentationConfig
from .targets import UNKNOWN

HALF = 0.5
"""Probability of each flip, and of the exchange of y and x, where patches are flipped."""


MARGIN = 1e-3
"""Voxels within the end of a sample in which a place counts as beyond it, since places are rounded."""


@dataclass(frozen=True)
class Patch:
    """Holds the arrays of a training patch: its image and its labels.

    Args:
        image: grey values (Z, Y, X).
        labels: int32 of the same shape: objects, 0 for background, `UNKNOWN` where nothing is known.
    """

    image: Tensor
    labels: Tensor


@dataclass(frozen=True)
class Warp:
    """Describes where the voxels of a plane are looked up: an affine map, and a bend.

    Args:
        matrix: from the distances to the middle (y, x) of a voxel to those of the place where it is looked up (2, 2).
        bend: further displacements along y and x in voxels (2, points y, points x), of points evenly over the plane.
    """

    matrix: NDArray[np.floating]
    bend: NDArray[np.float32]

    def extent(self, shape: Triple) -> Triple:
        """Gives the shape of the sample that a patch of some shape is looked up in."""
        reach = 2 * np.abs(self.bend).max((1, 2)) + np.abs(self.matrix) @ (np.array(shape[1:]) - 1)
        sizes = reach.astype(np.int64) + 2
        # Between its points a bend may be larger than at them. A sample grows only where a label would be missed, so
        # that all other patches stay as they were.
        farthest = 2 * self._places(shape, torch.device("cpu")).abs().amax((1, 2)).numpy()
        sizes = np.where(farthest > sizes - MARGIN, farthest.astype(np.int64) + 2, sizes)
        return shape[0], int(sizes[0]), int(sizes[1])

    def apply(self, sample: Patch, shape: Triple) -> Patch:
        """Returns the patch of a shape around the middle of a sample of as many sections; its image is float32.

        What lies outside the sample is its mirror image, with unknown labels.
        """
        grid = self._grid(sample.image, shape)
        image = F.grid_sample(sample.image[None].float(), grid, padding_mode="reflection", align_corners=True)
        # Where nothing is found there are zeros: the labels are moved, so that these are the unknown ones.
        moved = (sample.labels - UNKNOWN)[None].float()
        found = F.grid_sample(moved, grid, mode="nearest", padding_mode="zeros", align_corners=True)
        return Patch(image[0], found[0].int() + UNKNOWN)

    def _grid(self, sample: Tensor, shape: Triple) -> Tensor:
        """x and y of every voxel of the plane (1, Y, X, 2), from −1 to 1 over the sample: what torch wants."""
        halves = [max(n - 1, 1) / 2 for n in sample.shape[1:]]
        rows, columns = (at / half for at, half in zip(self._places(shape, sample.device), halves, strict=True))
        return torch.stack((columns, rows), dim=-1)[None]

    def _places(self, shape: Triple, device: torch.device) -> Tensor:
        """Where every voxel of the plane is looked up (2, Y, X): y and x from the middle of the sample, in voxels."""
        y, x = (torch.arange(n, device=device) - (n - 1) / 2 for n in shape[1:])
        bend = torch.from_numpy(self.bend).to(device)[None]
        displaced = F.interpolate(bend, shape[1:], mode="bicubic", align_corners=True)[0]
        straight = [float(by_y) * y[:, None] + float(by_x) * x for by_y, by_x in self.matrix]
        return torch.stack([at + by for at, by in zip(straight, displaced, strict=True)])


def draw_warp(shape: Triple, config: AugmentationConfig, random: np.random.Generator) -> Warp | None:
    """Returns a rotation, shear and stretch, a bend, both or neither."""
    affine, elastic = random.random() < config.warp, random.random() < config.elastic
    if not affine and not elastic:
        return None
    points = [math.ceil(n / config.bend_spacing) + 1 for n in shape[1:]]
    bend = config.bend * random.standard_normal((2, *points)) if elastic else np.zeros((2, *points))
    return Warp(affine_map(config, random) if affine else np.eye(2), bend.astype(np.float32))


def affine_map(config: AugmentationConfig, random: np.random.Generator) -> NDArray[np.floating]:
    """Returns a rotation of a shear of a stretch, as a matrix for (y, x)."""
    angle = math.radians(random.uniform(-config.rotation, config.rotation))
    rotation = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    shear = np.array([[1.0, random.uniform(-config.shear, config.shear)], [0.0, 1.0]])
    stretch = np.diag(random.uniform(1 - config.stretch, 1 + config.stretch, 2))
    matrix: NDArray[np.floating] = rotation @ shear @ stretch
    return matrix


def displace_sections(
    volume: Patch, box: Box, shape: Triple, config: AugmentationConfig, random: np.random.Generator
) -> Patch:
    """Returns sections of a shape out of a box of a volume: at one place, but for a slip and a step."""
    origins = section_origins(box.shape, shape, config, random) + box.start[1:]
    places = list(enumerate(origins.tolist(), start=box.start[0]))

    def cut(array: Tensor) -> Tensor:
        return torch.stack([array[z, y : y + shape[1], x : x + shape[2]] for z, (y, x) in places])

    return Patch(cut(volume.image), cut(volume.labels))


def section_origins(
    sampled: Triple, shape: Triple, config: AugmentationConfig, random: np.random.Generator
) -> NDArray[np.int64]:
    """Draws where each section begins in the sampled box (Z, 2)."""
    room = [sampled[1] - shape[1] + 1, sampled[2] - shape[2] + 1]
    origins = np.broadcast_to(random.integers(0, room), (shape[0], 2)).copy()
    if random.random() < config.step:
        origins[random.integers(0, shape[0]) :] = random.integers(0, room)
    if random.random() < config.slip:
        origins[random.integers(0, shape[0])] = random.integers(0, room)
    return origins


def flip(patch: Patch, random: np.random.Generator) -> Patch:
    """Returns one of the 16 orientations of a patch that is square in the plane, or of the 8 of one that is not."""
    axes = [axis for axis in range(3) if random.random() < HALF]
    exchange = patch.image.shape[1] == patch.image.shape[2] and random.random() < HALF

    def turn(array: Tensor) -> Tensor:
        return array.flip(axes).transpose(1, 2).contiguous() if exchange else array.flip(axes)

    return Patch(turn(patch.image), turn(patch.labels))


def exchange_axes(patch: Patch, random: np.random.Generator) -> Patch:
    """Returns a patch that is a cube, with its axes in any order."""
    order = random.permutation(3).tolist()
    return Patch(patch.image.permute(order).contiguous(), patch.labels.permute(order).contiguous())
