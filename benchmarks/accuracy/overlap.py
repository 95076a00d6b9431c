"""Which overlap of patches is harmless, and what variants are worth, on images that the networks learned from.

    python -m benchmarks.accuracy.overlap [--data ../shared/data] [--shape Z Y X] [--networks NAME …] [--variants N …]
        [--out FILE]

Every network predicts a part of its training volume, in one piece, in patches that overlap by half and in others. A row
has the voxels computed for each voxel of the part, seconds, how far affinities are from those of half overlap, and the
adapted Rand error by the settings of the shipped recipe over some thresholds. No part that is reported is seen.
With `--variants`, rows are those of several orientations, in the patches that the network is used with, and affinities
are compared with those of the first row.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
import torch
from numpy.typing import NDArray

from petavox import evaluate, segment
from petavox.pipeline.affinities.checkpoint import find_checkpoint, load_checkpoint, read_checkpoint_config
from petavox.pipeline.affinities.prediction import Inference, Predictor
from petavox.pipeline.geometry import Box, Triple, triple
from petavox.pipeline.networks.orientations import Count
from petavox.pipeline.networks.patch_grid import Patches

Array = NDArray[Any]


@dataclass(frozen=True)
class Part:
    """A part of a training volume, and how it is segmented.

    Args:
        raw, labels: files, in the folder of data; labels may cover the first sections of the image alone.
        box: what is predicted and scored, in voxels.
        patches: in which, those that overlap by half first.
        settings: of `petavox.segment`.
        thresholds: that are tried.
    """

    raw: str
    labels: str
    box: Box
    patches: tuple[Patches, ...]
    settings: dict[str, Any]
    thresholds: tuple[str, ...]


PARTS = {
    "snemi3d": Part(
        raw="snemi3d/raw.tif",
        labels="snemi3d/train_labels.tif",
        box=Box((50, 12, 12), (94, 380, 380)),
        patches=(
            Patches((18, 160, 160)),
            Patches((18, 160, 160), (6, 48, 48), (2, 16, 16)),
            Patches((18, 160, 160), (4, 32, 32), (1, 8, 8)),
            Patches((30, 320, 320), (6, 48, 48), (2, 16, 16)),
            Patches((30, 320, 320), (8, 96, 96), (3, 32, 32)),
        ),
        settings={
            "low": "0.02", "high": "0.95", "join_size": 300, "join_affinity": "0.1", "linkage": "quantile",
            "quantile": "0.85", "dust_size": 100,
        },
        thresholds=("0.2", "0.25", "0.3", "0.35", "0.4"),
    ),
    "fib25": Part(
        raw="fib25/raw.tif",
        labels="fib25/labels.tif",
        box=Box((0, 0, 0), (125, 250, 250)),
        patches=(
            Patches((80, 80, 80)),
            Patches((80, 80, 80), (24, 24, 24), (8, 8, 8)),
            Patches((80, 80, 80), (16, 16, 16), (5, 5, 5)),
            Patches((112, 112, 112), (24, 24, 24), (8, 8, 8)),
            Patches((144, 144, 144), (32, 32, 32), (12, 12, 12)),
        ),
        settings={
            "low": "0", "high": "0.999", "join_size": 300, "join_affinity": "0.1", "linkage": "quantile",
            "quantile": "0.85", "veto_size": 3000, "veto_threshold": "0.3",
        },
        thresholds=("0.15", "0.2", "0.25", "0.3", "0.35"),
    ),
}  # fmt: skip


Way = tuple[Patches, Count]
"""Patches, and in how many orientations each is predicted."""


def ways(name: str, part: Part, variants: list[Count]) -> Iterator[Way]:
    """Every overlap in one orientation; or the network's own overlap in several."""
    if not variants:
        yield from ((patches, 1) for patches in part.patches)
    own = read_checkpoint_config(find_checkpoint(name)).patches()
    yield from ((own, count) for count in variants)


def rows(name: str, part: Part, box: Box, raw: Array, truth: Array, tried: Iterable[Way]) -> Iterator[dict[str, Any]]:
    """A row for each way to lay patches."""
    first: Array | None = None
    for patches, variants in tried:
        config, network = load_checkpoint(find_checkpoint(name))
        assert config.normalisation is not None
        use = Inference(
            patch=patches.shape,
            normalisation=config.normalisation,
            batch=2,
            overlap=patches.overlap,
            rim=patches.rim,
            variants=variants,
        )
        predictor, shape = Predictor(network, use), triple(raw.shape)
        began = time.monotonic()
        found = predictor.predict(lambda where: raw[where.slices()], shape, box, box.shape[0])
        seconds = time.monotonic() - began
        first = found if first is None else first
        off = np.abs(found.astype(np.int16) - first)
        errors = {
            threshold: round(
                evaluate(segment(found, threshold=threshold, **part.settings), truth).adapted_rand_error, 4
            )
            for threshold in part.thresholds
        }
        yield {
            "network": name,
            "patch": patches.shape,
            "overlap": patches.overlap,
            "rim": patches.rim,
            "variants": variants,
            "computed": round(variants * patches.over(shape).computed(box) / box.voxels, 2),
            "seconds": round(seconds, 1),
            "mean_difference": round(float(off.mean()), 3),
            "beyond_16_levels": round(float((off > 16).mean()), 5),
            "error": errors,
        }


def cropped(box: Box, shape: Triple | None) -> Box:
    """The first voxels of a box."""
    return box if shape is None else Box.of_shape(shape, box.start).intersect(box)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("PETAVOX_DATA", "../shared/data")))
    parser.add_argument("--networks", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--variants", nargs="+", type=int, choices=(1, 4, 8, 16), default=[])
    parser.add_argument("--shape", type=int, nargs=3, help="voxels; a smaller part")
    parser.add_argument("--threads", type=int, default=2, help="of torch")
    parser.add_argument("--out", type=Path, help="a file that gets a line of JSON for each row")
    settings = parser.parse_args(arguments)
    torch.set_num_threads(settings.threads)
    for name in settings.networks:
        part = PARTS[name]
        box = cropped(part.box, None if settings.shape is None else triple(settings.shape))
        raw = tifffile.imread(settings.data / part.raw)
        truth = tifffile.imread(settings.data / part.labels)[box.slices()]
        for row in rows(name, part, box, raw, truth, ways(name, part, settings.variants)):
            print(json.dumps(row), flush=True)
            if settings.out is not None:
                with settings.out.open("a") as file:
                    file.write(json.dumps(row) + "\n")


if __name__ == "__main__":
    main()
