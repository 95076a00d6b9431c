"""The structure of a cell by its definition, pair by pair."""

from __future__ import annotations

import numpy as np


def structure(voxels, is_image):
    """The root of the mean, over sections, of variance less half the mean squared difference of neighbours; or -1."""
    total, counted = 0.0, 0
    for section, image in zip(voxels.astype(np.float64), is_image, strict=True):
        differences = []
        for y, x in zip(*np.nonzero(image), strict=True):
            for other in ((y - 1, x), (y, x - 1)):
                if min(other) >= 0 and image[other]:
                    differences.append(section[y, x] - section[other])
        if differences:
            total += image.sum() * (section[image].var() - np.square(differences).mean() / 2)
            counted += image.sum()
    if not counted or counted * 8 < voxels.size:
        return -1.0
    return max(0.0, total / counted) ** 0.5
