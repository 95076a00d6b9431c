"""Raw data of a block → its affinities to the next lower voxel along z, y and x, by a trained network.

Needs the raw data of the block grown by half a patch or more. Writes the block of the affinities volume, unless the
network's patches saw nothing but fill values there.
"""

from __future__ import annotations

import logging
import os
from collections import deque
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
from ..pipeline.affinities.checkpoint import check_checkpoint_offsets, load_checkpoint
from ..pipeline.affinities.offsets import NEAREST
from ..pipeline.affinities.prediction import Inference, Predictor, working_memory
from ..pipeline.affinities.unet import ResidualSymmetricUNet
from ..pipeline.affinities.variants import Combine
from ..pipeline.geometry import BlockGrid, Box, Triple, triple
from ..pipeline.networks.normalisation import Normalisation
from ..pipeline.networks.operation_count import operations_a_voxel
from ..pipeline.networks.orientations import Count
from ..pipeline.volumes import Volume, VolumeSpec, open_volume
from .contract import Density, Outcome, Resources, TaskConfig
from .outputs import Part, Piece
from .work import Extent, Growth, Work

log = logging.getLogger(__name__)

VERSION = 2
TORCH_BYTES = 450_000_000
"""What torch takes in a process that predicts, measured: half of it on import, the rest as its kernels' scratch."""


class Config(TaskConfig):
    """Args:
    raw: path of the raw volume.
    mask: path of a volume of its shape; edges to where it is 0 have affinity 0, and blocks of nothing else are skipped.
    checkpoint: folder of the checkpoint.
    affinities: path of the affinities volume, which exists.
    block: shape of a block.
    normalisation: of the raw volume's grey values.
    patch: shape of a patch; None: that of the checkpoint.
    threads: that torch computes with on a CPU.
    batch, device, precision: see `Inference`.
    variants, combine, compile: likewise; no part of the config, and so of what makes a result stale, unless set.
    """

    raw: str
    mask: str | None = Field(default=None, exclude_if=lambda path: path is None)
    checkpoint: str
    affinities: str
    block: Triple
    normalisation: Normalisation
    patch: Triple | None
    batch: int
    threads: int
    device: Literal["auto", "cpu", "cuda"]
    precision: Literal["float32", "bfloat16"]
    variants: Count = Field(default=1, exclude_if=lambda count: count == 1)
    combine: Combine = Field(default="mean", exclude_if=lambda how: how == "mean")
    compile: bool = Field(default=False, exclude_if=lambda asked: not asked)


def affinities_spec(raw: VolumeSpec, chunk: Triple, shard: Triple | None) -> VolumeSpec:
    """What the affinities volume of a raw volume looks like."""
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
    """One block with its image, one batch of patches, and torch itself."""
    checkpoint = check_checkpoint_offsets(Path(config.checkpoint))
    raw = open_volume(config.raw).spec
    block = triple([min(b, v) for b, v in zip(config.block, raw.shape, strict=True)])
    inference = _inference(config, checkpoint.patch, raw.fill_value)
    arrays = working_memory(checkpoint.network, inference, block, np.dtype(raw.dtype).itemsize)
    if config.mask is not None:
        arrays += 6 * prod(block)  # the mask, and which affinities it leaves
    return Resources(memory=TORCH_BYTES + arrays, threads=config.threads, gpu=config.device == "cuda")


def work(config: Config, extent: Extent, _: Growth) -> Work:
    """Patches are read and convolved, and the voxels of blocks written."""
    checkpoint = check_checkpoint_offsets(Path(config.checkpoint))
    network = ResidualSymmetricUNet(checkpoint.network)
    a_voxel = config.variants * operations_a_voxel(network, checkpoint.network.multiple)
    seen = extent.patch_voxels(config.patch or checkpoint.patch)
    return Work(extent.tasks(), extent.voxels(), seen=seen, operations=a_voxel * seen)


def run(config: Config, index: Triple) -> Outcome:
    raw = open_volume(config.raw)
    block = BlockGrid(raw.spec.shape, config.block).box(index)
    wanted = _wanted(config, block)
    if not wanted.any():
        nothing = np.zeros((len(NEAREST), *block.shape), np.uint8)
        return Outcome(state="masked", voxels=block.voxels, checksum=checksums.of_array(nothing))
    torch.set_num_threads(config.threads)
    affinities = _predict(config, raw, block, wanted)
    state: Literal["done", "empty"] = "done" if affinities.any() else "empty"
    return Outcome(state=state, voxels=block.voxels, checksum=checksums.of_array(affinities))


def _predict(config: Config, raw: Volume, block: Box, wanted: npt.NDArray[np.bool_]) -> npt.NDArray[np.uint8]:
    """Affinities of a block; what of them is not 0 is written, while others are still being computed."""
    output = open_volume(config.affinities, writable=True)
    affinities = np.zeros((len(NEAREST), *block.shape), np.uint8)
    wanted = np.broadcast_to(wanted, affinities.shape)
    predictor, depths = _predictor(config, raw.spec.fill_value), (raw.spec.chunk[0], output.spec.write_unit[0])
    with ThreadPoolExecutor(1, thread_name_prefix="writing") as thread:
        writing: deque[Future[None]] = deque()
        for slab, found in predictor.slabs(raw.read, raw.spec.shape, block, *depths):
            here = (slice(None), *slab.slices(block.start))
            np.multiply(found, wanted[here], out=affinities[here])
            if affinities[here].any():
                writing.append(thread.submit(output.write, slab, affinities[here]))
            while writing and writing[0].done():
                writing.popleft().result()  # what fails ends the task
        for written in writing:
            written.result()
    return affinities


def pieces(config: Config, index: Triple) -> tuple[Piece, ...]:
    block = BlockGrid(open_volume(config.affinities).spec.shape, config.block).box(index)
    return (Part(config.affinities, block),)


def _wanted(config: Config, block: Box) -> npt.NDArray[np.bool_]:
    """For each affinity (3, Z, Y, X) of a block whether both ends of its edge are inside the mask."""
    if config.mask is None:
        return np.ones((1, 1, 1, 1), np.bool_)
    mask = open_volume(config.mask)
    around = Box(triple([max(0, a - 1) for a in block.start]), block.stop)
    missing = [(1 - (a - b), 0) for a, b in zip(block.start, around.start, strict=True)]
    inside = np.pad(mask.read(around) != 0, missing, mode="edge")
    here = inside[1:, 1:, 1:]
    return np.stack([here & inside[:-1, 1:, 1:], here & inside[1:, :-1, 1:], here & inside[1:, 1:, :-1]])


@lru_cache(maxsize=1)
def _predictor(config: Config, fill_value: float) -> Predictor:
    """The network, loaded once in a worker."""
    checkpoint, network = load_checkpoint(Path(config.checkpoint))
    predictor = Predictor(network, _inference(config, checkpoint.patch, fill_value))
    given = os.environ.get("CUDA_VISIBLE_DEVICES")
    if given and predictor.device == "cpu" and config.device == "auto":
        log.warning("The network computes on the CPU: torch %s cannot use GPU %s.", torch.__version__, given)
    return predictor


def _inference(config: Config, trained_patch: Triple, fill_value: float) -> Inference:
    return Inference(
        patch=config.patch or trained_patch,
        normalisation=config.normalisation,
        fill_value=fill_value,
        batch=config.batch,
        device=config.device,
        precision=config.precision,
        variants=config.variants,
        combine=config.combine,
        compile=config.compile,
    )
