"""What each ingredient of training and of use is worth, on FIB-25: small networks, each without one of them.

    python -m benchmarks.accuracy.ingredients [--steps N] [--seeds N] [--only NAME …] [--work DIR]

Only z < 125 is read, for the rest is what is reported elsewhere. Networks are trained on x < 190 and scored on the box
beyond, from whose labels nothing is learned. A training that was stopped is continued, and what is done is not done
again; two processes with the same command share the work. The one that finds everything done writes the results, and
`python -m benchmarks.pages.ingredients` makes docs/ingredients.md of them.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import json
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
import torch

from petavox.pipeline.affinities.augmentation_config import AugmentationConfig
from petavox.pipeline.affinities.offsets import Offsets
from petavox.pipeline.affinities.sampling import TrainingVolume
from petavox.pipeline.affinities.training import STATE, Trainer
from petavox.pipeline.affinities.training_config import TrainingConfig
from petavox.pipeline.affinities.unet import NetworkConfig
from petavox.pipeline.files import write_bytes
from petavox.pipeline.geometry import Box, Triple, triple
from petavox.pipeline.networks.normalisation import estimate_normalisation

from ..harness import judging, measure

Row = dict[str, Any]

REPORTED = 125  # from this section on the volume belongs to the reported scores
VOXEL_SIZE = (10.0, 10.0, 10.0)
BASE = "base"


def offsets(*distances: int) -> Offsets:
    """Along each axis, at each of some distances."""
    return tuple(triple([d * (axis == k) for k in range(3)]) for d in distances for axis in range(3))


NETWORK: Row = {
    "widths": (16, 32, 48),
    "pooling": (2, 2, 2),
    "embedding": (5, 5, 5),
    "entry": (3, 3, 3),
    "stride": (2, 2, 2),
    "offsets": offsets(1, 3, 9),
}
TRAINING: Row = {
    "batch": judging.BATCH,
    "warm_up": 100,
    "erosion": 1,
    "erosion_depth": 1,
    "keep": "last",
    "threads": 1,
    "save_every": 50,
}
APPEARANCE: Row = {"grey": 0.8, "noise": 0.15, "defocus": 0.15, "defocus_deviation": 1.5}
DEFORMATION: Row = {"warp": 0.5, "elastic": 0.25}
SECTIONS: Row = {"slip": 0.0, "step": 0.0, "missing": 0.0}  # a block is imaged, and not cut into sections
TURNS: Row = {"flips": True, "exchange_z": True}
AUGMENTATION: Row = {**TURNS, **APPEARANCE, **DEFORMATION, **SECTIONS}
NO_APPEARANCE: Row = {"grey": 0.0, "noise": 0.0, "defocus": 0.0}
NO_DEFORMATION: Row = {"warp": 0.0, "elastic": 0.0}


@dataclass(frozen=True)
class Variant:
    """A training that differs from the base by one ingredient.

    Args:
        ingredient: what the one has and the other has not.
        in_base: which of them has it.
        network, training, augmentation: what is laid over the settings of the base.
    """

    ingredient: str
    in_base: bool
    network: Row
    training: Row
    augmentation: Row

    @property
    def name(self) -> str:
        return f"{'without' if self.in_base else 'with'} {self.ingredient}"


def without(
    ingredient: str, *, network: Row | None = None, training: Row | None = None, **augmentation: Any
) -> Variant:
    return Variant(ingredient, True, network or {}, training or {}, augmentation)


VARIANTS = (
    without("long-range targets", network={"offsets": offsets(1)}),
    without("changes of appearance", **NO_APPEARANCE),
    without("deformation", **NO_DEFORMATION),
    without("flips", flips=False),
    without("exchange of z with y and x", exchange_z=False),
    without("any augmentation", flips=False, exchange_z=False, **NO_APPEARANCE, **NO_DEFORMATION),
    without("erosion", training={"erosion": 0, "erosion_depth": 0}),
    Variant("shape descriptors", False, {"descriptors": (8.0, 8.0, 8.0)}, {}, {}),
    Variant("edges that decide", False, {}, {"maximin_weight": 0.1}, {}),
)
RAW_WEIGHTS = without("averaged weights")  # needs no training of its own
TRAINED = {BASE: without("nothing"), **{variant.name: variant for variant in VARIANTS}}


@dataclass(frozen=True)
class Study:
    """One volume, and how networks are trained on it.

    Args:
        volume: what serves here of the data.
        box: of it that is scored.
        patch: shape of a patch.
        steps: of every training.
        work: folder of the trainings.
    """

    volume: TrainingVolume
    box: Box
    patch: Triple
    steps: int
    work: Path

    def network(self, variant: Variant) -> NetworkConfig:
        return NetworkConfig(**NETWORK | variant.network)

    def training(self, variant: Variant, seed: int) -> TrainingConfig:
        own = {"patch": self.patch, "steps": self.steps, "seed": seed}
        return TrainingConfig(**TRAINING | own | variant.training)

    def augmentation(self, variant: Variant) -> AugmentationConfig:
        return AugmentationConfig(**AUGMENTATION | variant.augmentation)

    def folder(self, name: str, seed: int) -> Path:
        return self.work / f"{name.replace(' ', '-')}-{seed}"

    def done(self, name: str, seed: int) -> list[Row] | None:
        """The rows of a training; None before they are there."""
        path = self.folder(name, seed) / "rows.json"
        return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None

    def make(self, name: str, seed: int) -> list[Row]:
        """Train, or go on with it, and score what comes out."""
        variant, folder = TRAINED[name], self.folder(name, seed)
        Trainer(
            self.network(variant),
            self.augmentation(variant),
            self.training(variant, seed),
            [self.volume],
            folder,
            voxel_size=VOXEL_SIZE,
            provenance={"benchmark": "ingredients", "variant": name},
        ).run()
        rows = [row | {"seed": seed} for row in self.score(name, folder / STATE)]
        write_bytes(folder / "rows.json", (json.dumps(rows, indent=1, default=float) + "\n").encode())
        return rows

    def score(self, name: str, state: Path) -> Iterator[Row]:
        """A row for the averaged weights; of the base, also for its other weights, and for every way to use it."""
        network, truth = self.network(TRAINED[name]), self.volume.labels[self.box.slices()]
        place = judging.Place(self.volume, self.box, self.patch)
        averaged = judging.weights(state, "average")
        affinities = place.predicted(network, averaged)
        yield {"part": "trained", "what": name, **judging.scores(affinities, truth)}
        if name != BASE:
            return
        raw = place.predicted(network, judging.weights(state, "model"))
        yield {"part": "trained", "what": RAW_WEIGHTS.name, **judging.scores(raw, truth)}
        for what, found in place.looked_at(network, averaged).items():
            yield {"part": "variants", "what": what, **judging.scores(found, truth)}
        for what, trials in judging.linkages(affinities, place.long_range(network, averaged), truth):
            yield {"part": "linkage", "what": what, **judging.best_of(trials)}


@contextlib.contextmanager
def claimed(folder: Path) -> Iterator[bool]:
    """Whether no other process works in a folder; while this lasts, none does."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as file:
        mine = False
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            mine = True
        yield mine


def load(data: Path, extent: Triple, scored: int) -> tuple[TrainingVolume, Box]:
    """The corner of FIB-25 that serves here, and the box at its end along x that nothing is learned from.

    Args:
        data: folder that holds fib25/.
        extent: of the corner (z, y, x), in voxels.
        scored: length of the box along x.
    """
    if extent[0] > REPORTED:
        sys.exit(f"Sections from {REPORTED} on are what is reported, and are not touched here; found extent {extent}.")
    paths = [data / "fib25" / name for name in ("raw.tif", "labels.tif")]
    if missing := [str(path) for path in paths if not path.exists()]:
        sys.exit(f"FIB-25 is not there: {', '.join(missing)} is missing. Name its folder: --data, or $PETAVOX_DATA.")
    image, labels = (
        np.ascontiguousarray(tifffile.imread(path, key=range(extent[0]))[:, : extent[1], : extent[2]]) for path in paths
    )
    box = Box((0, 0, extent[2] - scored), extent)
    normalisation = estimate_normalisation(lambda part: image[part.slices()], extent)
    return TrainingVolume(image, labels, np.ones(extent, bool), normalisation, exclude=(box,)), box


def check_work(work: Path, settings: Row) -> None:
    """Refuse a folder in which something else has been trained."""
    path = work / "settings.json"
    wanted = json.loads(json.dumps(settings))
    if path.exists() and json.loads(path.read_text(encoding="utf-8")) != wanted:
        sys.exit(f"The trainings in {work} are those of other settings, see {path}. Name another folder: --work.")
    work.mkdir(parents=True, exist_ok=True)
    write_bytes(path, (json.dumps(wanted, indent=1) + "\n").encode())


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    data = os.environ.get("PETAVOX_DATA", str(measure.ROOT.parent / "shared" / "data"))
    parser.add_argument("--data", type=Path, default=Path(data), help="folder that holds fib25/")
    parser.add_argument("--steps", type=int, default=800, help="of every training")
    parser.add_argument("--seeds", type=int, default=3, help="trainings of every variant")
    parser.add_argument("--only", nargs="+", choices=TRAINED, default=list(TRAINED), metavar="NAME", help="these alone")
    parser.add_argument("--patch", type=int, default=48, help="length of a patch, which is a cube")
    parser.add_argument("--extent", type=int, nargs=3, default=(REPORTED, 250, 250), help="of the volume that serves")
    parser.add_argument("--scored", type=int, default=60, help="the last so many voxels along x are scored")
    parser.add_argument("--work", type=Path, default=Path("build/bench/ingredients"), help="folder of the trainings")
    parser.add_argument("--results", type=Path, default=measure.RESULTS, help="folder of the JSON files")
    settings = parser.parse_args(arguments)
    torch.set_num_threads(1)

    told = {name: getattr(settings, name) for name in ("steps", "patch", "extent", "scored")}
    base = {"network": NETWORK, "training": TRAINING, "augmentation": AUGMENTATION}
    check_work(settings.work, told | base)
    volume, box = load(settings.data, triple(settings.extent), settings.scored)
    study = Study(volume, box, triple([settings.patch] * 3), settings.steps, settings.work)
    wanted = [(name, seed) for seed in range(settings.seeds) for name in TRAINED if name in {BASE, *settings.only}]
    for name, seed in wanted:
        with claimed(study.folder(name, seed)) as mine:
            if mine and study.done(name, seed) is None:
                row = study.make(name, seed)[0]
                print(f"{name}, seed {seed}: {judging.in_words(row)}", flush=True)
    found = {job: study.done(*job) for job in wanted}
    if missing := [f"{name}, seed {seed}" for (name, seed), rows in found.items() if rows is None]:
        sys.exit(f"Not done yet, or being done by another process: {'; '.join(missing)}.")
    rows = [row for rows in found.values() for row in rows or ()]
    told |= {"seeds": settings.seeds}
    shown = [variant for variant in (*VARIANTS, RAW_WEIGHTS) if variant.name in {RAW_WEIGHTS.name, *settings.only}]
    ingredients = [{"what": v.name, "ingredient": v.ingredient, "in_base": v.in_base} for v in shown]
    measure.write(settings.results, "ingredients", told, rows, [], base=base, ingredients=ingredients)


if __name__ == "__main__":
    main()
