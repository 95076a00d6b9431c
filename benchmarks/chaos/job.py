"""The job that faults are injected into: phantom affinities, made once, and a segmentation of them in small blocks."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from scipy.ndimage import gaussian_filter

from petavox.pipeline.affinities.offsets import NEAREST
from petavox.pipeline.geometry import BlockGrid, Box, Triple
from petavox.pipeline.phantom import Phantom, PhantomConfig
from petavox.pipeline.volumes import VolumeSpec, create_volume, default_chunks, open_volume

SHAPE: Triple = (64, 256, 256)
BLOCK: Triple = (16, 64, 64)
PHANTOM = PhantomConfig(seed=4)

# With so high a `high`, supervoxels are small and many: a block takes long for its voxels, and is worth killing.
RECIPE = """
[input]
affinities = "{affinities}"
[blocks]
shape = {block}
[supervoxels]
low = 0.02
high = 0.9999
[agglomeration]
linkage = "quantile"
levels = 64
threshold = 0.5
[cluster]
kind = "{kind}"
workers = 2
memory = "1.5GB"
"""


@dataclass(frozen=True)
class Job:
    """What every fault starts from.

    Args:
        affinities: path of the volume.
        reference: hash of the segmentation of a serial run that nothing disturbed.
        blocks: how many the volume has.
    """

    affinities: Path
    reference: str
    blocks: int

    def recipe(self, folder: Path, kind: str = "local", more: str = "") -> Path:
        """Write the recipe into a folder; `more` are lines after those of [cluster]."""
        path = folder / "segment.toml"
        text = RECIPE.format(affinities=self.affinities, block=list(BLOCK), kind=kind)
        path.write_text(text + more, encoding="utf-8")
        return path


def prepare(folder: Path) -> Job:
    """The job in a folder. Affinities are drawn once; the reference is computed by the code of the day."""
    folder.mkdir(parents=True, exist_ok=True)
    affinities, run = folder / f"affinities-{'x'.join(map(str, SHAPE))}.zarr", folder / "reference"
    if not affinities.exists():
        _draw(affinities)
    job = Job(affinities, "", len(BlockGrid(SHAPE, BLOCK)))
    shutil.rmtree(run, ignore_errors=True)
    serial = command("run", job.recipe(folder, "serial"), "--run", run)
    done = subprocess.run(serial, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"The run that nothing disturbs does not end well:\n{done.stderr}")
    return replace(job, reference=digest(run / "segmentation.zarr"))


def command(*arguments: object, module: str = "petavox.workflows.cli") -> list[str]:
    """The command line of petavox, or of another module, in this interpreter."""
    return [sys.executable, "-P", "-m", module, *map(str, arguments)]


def digest(path: Path) -> str:
    """A hash of every voxel in an order that depends on neither blocks nor chunks."""
    volume, result = open_volume(path), hashlib.sha256()
    sections = BlockGrid(volume.spec.shape, (1, *volume.spec.shape[1:]))
    for index in sections.indices():
        result.update(volume.read(sections.box(index)).tobytes())
    return result.hexdigest()


def _draw(path: Path) -> None:
    """Grey levels of a phantom, smoothed and stretched; an edge has the smaller of its two ends."""
    grey, _ = Phantom(PHANTOM).read(Box.of_shape(SHAPE))
    soft = gaussian_filter(grey.astype(np.float32), (0, 1.5, 1.5))
    soft = np.interp(soft, np.percentile(soft, [5, 99]), [0, 255])
    edges = [np.minimum(soft, np.roll(soft, 1, axis=axis)) * (0.8 if axis == 0 else 1) for axis in range(3)]
    chunk, shard = default_chunks(BLOCK, SHAPE)
    unfinished = path.with_name(f".{path.name}")
    shutil.rmtree(unfinished, ignore_errors=True)
    spec = VolumeSpec(SHAPE, "uint8", PHANTOM.voxel_size, channels=3, chunk=chunk, shard=shard, offsets=NEAREST)
    create_volume(unfinished, spec).write(Box.of_shape(SHAPE), np.rint(edges).astype(np.uint8))
    unfinished.rename(path)
