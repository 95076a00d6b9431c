"""Raw data of a block → its affinities to the next lower voxel along z, y and x, by a trained network.

Needs the raw data of the block grown by half a patch or more. Writes the block of the affinities volume, unless the
network's patches saw nothing but fill values there.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import lru_cache
from math import prod
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from pydantic import Field

from ..pipeline import checksums
from ..pipeline.affinities.checkpoint import CheckpointConfig, check_checkpoint_offsets, load_checkpoint
from ..pipeline.affinities.masking import both_ends, edges_inside, lower_ends
from ..pipeline.affinities.offsets import NEAREST
from ..pipeline.affinities.prediction import Inference, Predictor, working_memory
from ..pipeline.affinities.unet import ResidualSymmetricUNet
from ..pipeline.affinities.variants import Combine
from ..pipeline.geometry import BlockGrid, Box, Triple, triple
from ..pipeline.networks.normalisation import Normalisation, holds_image
from ..pipeline.networks.operation_count import operations_a_voxel
from ..pipeline.networks.orientations import Count
from ..pipeline.volumes import (
    THREADS,
    Volume,
    VolumeSource,
    VolumeSpec,
    open_volume,
    read_nearest_voxels,
    voxels_read,
)
from . import fraction
from .contract import Density, Outcome, Resources, TaskConfig
from .outputs import Piece, VolumePart, write_part
from .work import Extent, Growth, Work

log = logging.getLogger(__name__)

VERSION = 2
NOT_FINITE = "not_finite"
"""Count of voxels whose grey value is infinite or not a number: the network sees the mean, edges to them are 0."""
TORCH_BYTES = 450_000_000
"""What torch takes in a process that predicts, measured: half of it on import, the rest as its kernels' scratch."""

STORAGE_THREADS = 8
"""That decode and encode chunks for a GPU, at most: a core compresses affinities of about 50 M voxels a second."""
WRITERS = 4
"""Threads that each wait for a slab from a GPU, and have it written."""

Wanted = npt.NDArray[np.bool_] | None


class Config(TaskConfig):
    """Configures the affinities of a block.

    Args:
    raw: the raw volume.
    mask: a volume that covers it; edges to where it is 0 have affinity 0, and blocks of nothing else are skipped.
    checkpoint: folder of the checkpoint.
    affinities: path of the affinities volume, which exists.
    block: shape of a block.
    region: the voxels whose affinities are wanted; all of the volume unless given.
    normalisation: normalisation of the raw volume's grey values.
    patch: shape of a patch; None: that of the checkpoint, as for its overlap and rim.
    threads: number of torch's threads on a CPU.
    batch, device, precision: see `Inference`.
    variants, combine, compile, overlap, rim: likewise; no part of the config, and so of what makes a result stale,
        unless set.
    floats: whether grey values are floats, of which those that are no number count as the mean; before there was this
        key, they spread over what the network saw.
    """

    raw: VolumeSource
    mask: VolumeSource | None = Field(default=None, exclude_if=lambda path: path is None)
    checkpoint: str
    affinities: str
    block: Triple
    region: Box | None = Field(default=None, exclude_if=lambda box: box is None)
    normalisation: Normalisation
    patch: Triple | None
    batch: int
    threads: int
    device: Literal["auto", "cpu", "cuda"]
    precision: Literal["float32", "bfloat16"]
    variants: Count = Field(default=1, exclude_if=lambda count: count == 1)
    combine: Combine = Field(default="mean", exclude_if=lambda how: how == "mean")
    compile: bool = Field(default=False, exclude_if=lambda asked: not asked)
    overlap: Triple | None = Field(default=None, exclude_if=lambda overlap: overlap is None)
    rim: Triple | None = Field(default=None, exclude_if=lambda rim: rim is None)
    floats: bool = Field(default=False, exclude_if=lambda floats: not floats)


def affinities_spec(raw: VolumeSpec, chunk: Triple, shard: Triple | None) -> VolumeSpec:
    """Describes the affinities volume of a raw volume."""
    return VolumeSpec(
        shape=raw.shape,
        dtype="uint8",
        voxel_size=raw.voxel_size,
        translation=raw.translation,
        channels=len(NEAREST),
        offsets=NEAREST,
        chunk=chunk,
        shard=shard,
    )


def resources(config: Config, _: Density) -> Resources:
    """States one block with its image, one batch of patches, and torch itself."""
    checkpoint = check_checkpoint_offsets(Path(config.checkpoint))
    volume = config.raw.open()
    raw = volume.spec
    block = triple([min(b, v) for b, v in zip(config.block, raw.shape, strict=True)])
    inference = _inference(config, checkpoint, raw.fill_value)
    arrays = working_memory(checkpoint.network, inference, block, np.dtype(raw.dtype).itemsize, raw.chunk[0])
    if config.mask is not None:
        mask = config.mask.open()
        # The mask as it is stored and over the block, and which affinities it leaves.
        arrays += voxels_read(mask, volume, block) * np.dtype(mask.spec.dtype).itemsize + 6 * prod(block)
    if raw.dtype.startswith("float"):
        arrays += (6 + np.dtype(raw.dtype).itemsize) * prod(block)  # what of the image is finite, and which it leaves
    needed = Resources(memory=TORCH_BYTES + arrays, threads=config.threads)
    return needed.on_gpu() if config.device == "cuda" else needed


def work(config: Config, extent: Extent, _: Growth) -> Work:
    """Counts voxels of patches that are read and convolved, and voxels of blocks that are written."""
    checkpoint = check_checkpoint_offsets(Path(config.checkpoint))
    network = ResidualSymmetricUNet(checkpoint.network)
    a_voxel = config.variants * operations_a_voxel(network, checkpoint.network.multiple)
    seen = extent.patch_voxels(checkpoint.patches(config.patch, config.overlap, config.rim))
    return Work(extent.tasks(), extent.voxels(), seen=seen, operations=a_voxel * seen)


def run(config: Config, index: Triple) -> Outcome:
    raw = config.raw.open()
    block = BlockGrid(raw.spec.shape, config.block, config.region).box(index)
    wanted = _wanted(config, raw, block)
    if wanted is not None and not wanted.any():
        nothing = np.zeros((len(NEAREST), *block.shape), np.uint8)
        return Outcome(state="masked", voxels=block.voxels, checksum=checksums.of_array(nothing))
    torch.set_num_threads(config.threads)
    known, not_finite = _known(raw, block)
    wanted = known if wanted is None else wanted if known is None else wanted & known
    predictor = _predictor(config, raw.spec.fill_value)
    affinities, found = _predict(predictor, config, block, wanted)
    state: Literal["done", "empty"] = "done" if found else "empty"
    counts = {NOT_FINITE: not_finite} if not_finite else {}
    return Outcome(state=state, voxels=block.voxels, counts=counts, checksum=checksums.of_array(affinities))


def _predict(predictor: Predictor, config: Config, block: Box, wanted: Wanted) -> tuple[npt.NDArray[np.uint8], bool]:
    """Affinities of a block, and whether there are any; these are written while others are still being computed."""
    on_gpu = predictor.device.name == "cuda"
    threads = min(STORAGE_THREADS, len(os.sched_getaffinity(0))) if on_gpu else THREADS
    raw = config.raw.open(threads=threads)
    output = open_volume(config.affinities, writable=True, threads=threads)
    affinities = np.empty((len(NEAREST), *block.shape), np.uint8)

    def keep(slab: Box, arrived: Callable[[], npt.NDArray[np.uint8]]) -> bool:
        here = (slice(None), *slab.slices(block.start))
        if wanted is None:
            affinities[here] = arrived()
        else:
            np.multiply(arrived(), wanted[here], out=affinities[here])
        any_there = bool(affinities[here].any())
        if any_there:
            write_part(output, slab, affinities[here])
        return any_there

    depths = (raw.spec.chunk[0], output.spec.write_unit[0])
    with ThreadPoolExecutor(WRITERS if on_gpu else 1, thread_name_prefix="writing") as pool:
        writing: list[Future[bool]] = []
        for slab, arrived in predictor.slabs(raw.read, raw.spec.shape, block, *depths):
            writing.append(pool.submit(keep, slab, arrived))
            fraction.tell((slab.stop[0] - block.start[0]) / block.shape[0])
            for written in writing:
                if written.done():
                    written.result()  # what fails ends the task
        found = [written.result() for written in writing]
    return affinities, any(found)


def pieces(config: Config, index: Triple) -> tuple[Piece, ...]:
    block = BlockGrid(open_volume(config.affinities).spec.shape, config.block, config.region).box(index)
    return (VolumePart(config.affinities, block),)


def _wanted(config: Config, raw: Volume, block: Box) -> Wanted:
    """For each affinity (3, Z, Y, X) of a block whether both ends of its edge are inside the mask, if there is one."""
    if config.mask is None:
        return None
    mask = config.mask.open()
    return edges_inside(lambda box: read_nearest_voxels(mask, raw, box) != 0, block)


def _known(raw: Volume, block: Box) -> tuple[Wanted, int]:
    """Finds for each affinity of a block whether both ends of its edge are finite, and counts voxels that are not."""
    if not raw.spec.dtype.startswith("float"):
        return None, 0
    around = lower_ends(block)
    finite = holds_image(raw.read(around), None)
    inside = finite[block.slices(around.start)]
    return both_ends(finite, block), int(inside.size - np.count_nonzero(inside))


@lru_cache(maxsize=1)
def _predictor(config: Config, fill_value: float) -> Predictor:
    """The network, loaded once in a worker."""
    checkpoint, network = load_checkpoint(Path(config.checkpoint))
    predictor = Predictor(network, _inference(config, checkpoint, fill_value))
    given = os.environ.get("CUDA_VISIBLE_DEVICES")
    if given and predictor.device.name == "cpu" and config.device == "auto":
        log.warning("The network computes on the CPU: torch %s cannot use GPU %s.", torch.__version__, given)
    return predictor


def _inference(config: Config, checkpoint: CheckpointConfig, fill_value: float) -> Inference:
    patches = checkpoint.patches(config.patch, config.overlap, config.rim)
    return Inference(
        patch=patches.shape,
        normalisation=config.normalisation,
        fill_value=fill_value,
        batch=config.batch,
        device=config.device,
        precision=config.precision,
        variants=config.variants,
        combine=config.combine,
        compile=config.compile,
        overlap=patches.overlap,
        rim=patches.rim,
        threads=config.threads,
    )
