"""docs/images/augmentation.png: every augmentation of a training patch alone, on a piece of phantom.

    python -m benchmarks.pages.augmentation [--out docs/images/augmentation.png]

Each tile shows one section, and under it the same patch cut across its sections, with the borders of the labels.
"""

from __future__ import annotations

import argparse
import io
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib import pyplot as plt
from numpy.typing import NDArray
from PIL import Image

from petavox.pipeline.affinities.augmentation_config import AugmentationConfig
from petavox.pipeline.affinities.sampling import PatchSampler, TrainingVolume
from petavox.pipeline.geometry import Box
from petavox.pipeline.networks.normalisation import estimate_normalisation
from petavox.pipeline.phantom import Phantom, PhantomConfig

PATCH = (12, 112, 112)
VOLUME = (12, 240, 240)
NOTHING = AugmentationConfig(flips=False, slip=0, step=0, missing=0, defocus=0, grey=0, noise=0, displacement=17)
GREY = {"contrast": 0.0, "brightness": 0.0, "gamma": 0.0, "grey": 1.0}
ALONE: dict[str, dict[str, object]] = {
    "as it is": {},
    "flips": {"flips": True},
    "warp": {"warp": 1.0},
    "elastic": {"elastic": 1.0, "bend": 5.0},
    "slip": {"slip": 1.0},
    "step": {"step": 1.0},
    "defocus": {"defocus": 1.0, "defocus_sections": 12, "defocus_deviation": 6.0},
    "contrast": GREY | {"contrast": 0.6},
    "brightness": GREY | {"brightness": 1.2},
    "gamma": GREY | {"gamma": 1.5},
    "shading": {"shading": 1.0, "contrast": 0.6, "brightness": 1.2},
    "noise": {"noise": 1.0},
    "missing": {"missing": 1.0, "missing_sections": 10},
}
SEED = 10  # one in which the middle section shows what happens to sections
NEIGHBOURS = ((1, 0, 0), (0, 1, 0), (0, 0, 1))


def phantom() -> TrainingVolume:
    image, names = Phantom(PhantomConfig(seed=11, voxel_size=(30.0, 12.0, 12.0))).read(Box.of_shape(VOLUME))
    normalisation = estimate_normalisation(lambda box: image[box.slices()], VOLUME)
    return TrainingVolume(image, names, np.ones(VOLUME, bool), normalisation)


def tile(volume: TrainingVolume, changes: dict[str, object]) -> NDArray[np.uint8]:
    """One section over a cut across the sections, as RGB; a section is as high as it is thick, five voxels."""
    sampler = PatchSampler(
        [volume],
        shape=PATCH,
        offsets=NEIGHBOURS,
        augmentation=NOTHING.model_copy(update=changes),
        labelled=0.0,
        erosion=0,
        seed=SEED,
        device="cpu",
    )
    example = sampler.draw(0)
    image, targets = example.image[0].numpy(), example.targets.numpy()
    middle = len(image) // 2
    views = (
        (image[middle], targets[1:, middle]),
        *((np.repeat(image[:, 56], 5, 0), np.repeat(targets[::2, :, 56], 5, 1)),),
    )
    return np.concatenate([coloured(*view) for view in views])


def coloured(grey: NDArray[np.float32], across: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Grey values with red where an affinity is 0."""
    rgb = np.repeat(((grey + 3) / 6).clip(0, 1)[..., None], 3, 2)
    rgb[(across == 0).any(0)] = rgb[(across == 0).any(0)] * 0.5 + np.array([0.5, 0.0, 0.0])
    return (255 * rgb).astype(np.uint8)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path(__file__).parents[2] / "docs/images/augmentation.png")
    out = parser.parse_args().out
    mpl.use("Agg")
    volume = phantom()
    figure, axes = plt.subplots(2, 7, figsize=(9.8, 4.7), dpi=100, layout="constrained")
    for axis in axes.flat:
        axis.axis("off")
    for axis, (name, changes) in zip(axes.flat[: len(ALONE)], ALONE.items(), strict=True):
        axis.imshow(tile(volume, changes), interpolation="nearest")
        axis.set_title(name, fontsize=9)
    drawn = io.BytesIO()
    figure.savefig(drawn)
    Image.open(drawn).convert("RGB").quantize(64).save(out, optimize=True)


if __name__ == "__main__":
    main()
