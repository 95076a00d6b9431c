"""A network used on a volume, block by block, so that the result does not depend on the blocks.

Strategy: patches lie on one grid over the volume (`PatchGrid`). A block computes every patch that counts in it, in
global order, and adds the patch's weighted affinities, cropped to the block, to a float32 accumulator. What a voxel is
made of, and in which order it is added up, is therefore the same in whichever block the voxel lies. On a CPU the result
is equal bit for bit, given the same number of patches in a batch; a GPU's kernels may differ in the last bits.

Image, patches and accumulator stay on the device: grey values go there slab by slab while patches are computed, and
grey levels of affinities come back slab by slab while the next patches are (`Device`).
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import lcm, prod
from typing import Literal, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..geometry import Box, Triple
from ..networks.device import Device, usable_device
from ..networks.engine import Engine, Precision
from ..networks.normalisation import Normalisation
from ..networks.orientations import Count
from ..networks.patch_grid import Patches, PatchGrid
from ..networks.read_ahead import Read, reading
from .network_config import NetworkConfig, check_patch
from .offsets import NEAREST
from .unet import ResidualSymmetricUNet
from .variants import Combine, predict_variants, variants_of

CHANNELS = len(NEAREST)
TOGETHER = 32
"""Numbers that torch computes at once with the widest vectors of a CPU."""
Item = TypeVar("Item")


@dataclass(frozen=True, kw_only=True)
class Inference:
    """Says how a network is used: on one volume, whose grey values it normalises.

    Args:
        patch: shape of a patch, in voxels: even, and divisible by the network's `multiple`.
        normalisation: normalisation of the volume's grey values.
        fill_value: grey value of voxels that hold no image, if there is one; a patch that holds nothing else has
            affinity 0.
        batch: patches that are computed together on a CPU; from two on, torch takes its faster kernels for small maps.
            A GPU gets as many as it has memory for, at least these.
        device: "cpu" or "cuda"; "auto" is the GPU where torch can use one.
        precision: "bfloat16" computes the convolutions in it, by autocast.
        variants: number of orientations, flipped and transposed, in which each patch is predicted.
        combine: rule that combines the affinities of the variants.
        compile: whether the network is compiled before it is run.
        overlap, rim: of patches, see `Patches`.
        threads: number of torch's threads on a CPU.
    """

    patch: Triple
    normalisation: Normalisation
    fill_value: float | None = None
    batch: int = 1
    device: Literal["auto", "cpu", "cuda"] = "auto"
    precision: Precision = "float32"
    variants: Count = 1
    combine: Combine = "mean"
    compile: bool = False
    overlap: Triple | None = None
    rim: Triple | None = None
    threads: int = 1

    @property
    def patches(self) -> Patches:
        """Returns the patches of this use."""
        return Patches(self.patch, self.overlap, self.rim)


class Predictor:
    """Predicts affinities by a trained network whose normalisations are folded, nearest channels alone.

    Args:
        network: with the nearest offsets first; it is changed and belongs to the predictor from here on.
        inference: way in which the network is used.

    Raises:
        RequestError: the patch, or a variant of it, does not fit the network; or its overlap does not fit the patch.
    """

    def __init__(self, network: ResidualSymmetricUNet, inference: Inference) -> None:
        self.inference, self.variants = inference, variants_of(inference.variants)
        for variant in self.variants:
            check_patch(variant.shape(inference.patch), network.config)
        self.device = Device(usable_device() if inference.device == "auto" else inference.device)
        self.patches = inference.patches
        memory = patch_memory(network.config, inference)
        on_cpu = self.device.name == "cpu"
        batch = aligned_batch(network.config, inference) if on_cpu else inference.batch
        compiled = inference.compile
        self.engine = Engine(network, CHANNELS, self.device.name, inference.precision, memory, batch, compiled)
        self._weights: dict[bytes, Tensor] = {}

    def predict(self, read: Read, volume: Triple, block: Box, depth: int) -> NDArray[np.uint8]:
        """Returns affinities of a block (3, Z, Y, X) at once; see `slabs`."""
        slabs = self.slabs(read, volume, block, depth, block.shape[0])
        return np.concatenate([arrived() for _, arrived in slabs], axis=1)

    def slabs(
        self, read: Read, volume: Triple, block: Box, depth: int, found_depth: int
    ) -> Iterator[tuple[Box, Callable[[], NDArray[np.uint8]]]]:
        """Returns affinities of a block in slabs along z, each as soon as no patch that is left changes it.

        Args:
            read: gives the grey values (Z, Y, X) of a box inside the volume; called for one slab after the other, in
                another thread, while patches are computed.
            volume: shape of the volume, in voxels.
            block: a box inside it.
            depth: planes of a slab that is read, such as those of the volume's chunks.
            found_depth: likewise of a slab of affinities.

        Yields:
            The voxels of a slab, and a function that any thread may call: it waits for the device and gives uint8
            (3, Z, Y, X), round(255 · affinity), of their edges to the next lower voxel along z, y and x. Edges that
            leave the volume have a value, too, that means nothing.
        """
        grid = self.patches.over(volume)
        indices = list(grid.touching(block))
        slabs = deque(block.slabs(found_depth))
        boxes = [grid.box(index) for index in indices]
        with reading(read, volume, boxes, depth, self.device, self.inference.fill_value) as image:
            total = torch.zeros((CHANNELS, *block.shape), device=self.device.name)
            seen = ((index, box) for index, box in zip(indices, boxes, strict=True) if image.holds_image(box))
            for batch in batched(seen, self.engine.batch):
                ready = grid.reach(batch[0][0]).start[0]
                while slabs[0].stop[0] <= ready:
                    slab = slabs.popleft()
                    yield slab, self._grey_levels(total, slab, block)
                found = self._compute([image.patch(box) for _, box in batch])
                for (index, _), affinities in zip(batch, found, strict=False):
                    self.add(total, affinities, index, grid, block)
            for slab in slabs:
                yield slab, self._grey_levels(total, slab, block)

    def _compute(self, patches: list[Tensor]) -> Tensor:
        """Affinities (N, 3, Z, Y, X) of patches; the batch is always full, since kernels may depend on its size."""
        shape = (self.engine.batch, 1, *self.inference.patch)
        images = torch.zeros(shape, dtype=patches[0].dtype, device=self.device.name)
        for image, grey in zip(images, patches, strict=False):
            image[0] = grey
        with torch.inference_mode():
            scaled = self.inference.normalisation.apply(images)
            return predict_variants(self.engine, scaled, self.variants, NEAREST, self.inference.combine)

    def add(self, total: Tensor, affinities: Tensor, index: Triple, grid: PatchGrid, block: Box) -> None:
        """Adds the affinities (3, Z, Y, X) of a patch, as much as each voxel of it counts, to those of a block."""
        common = grid.reach(index).intersect(block)
        there, here = common.slices(grid.box(index).start), common.slices(block.start)
        total[(slice(None), *here)] += affinities[(slice(None), *there)] * self._weights_of(grid, index)[there]

    def _weights_of(self, grid: PatchGrid, index: Triple) -> Tensor:
        """Returns the weight of each voxel (Z, Y, X) of a patch, on the device; most patches have the same."""
        axes = grid.weights(index)
        key = b"".join(weights.tobytes() for weights in axes)
        if key not in self._weights:
            z, y, x = (torch.from_numpy(weights).to(self.device.name) for weights in axes)
            self._weights[key] = z[:, None, None] * y[:, None] * x
        return self._weights[key]

    def _grey_levels(self, total: Tensor, slab: Box, block: Box) -> Callable[[], NDArray[np.uint8]]:
        """Turns a slab of the total into grey levels, in its place: the total of the slab is not needed any more."""
        found = total[(slice(None), *slab.slices(block.start))]
        return self.device.download(found.mul_(255).round_().clamp_(0, 255).to(torch.uint8))


def batched(items: Iterator[Item], size: int) -> Iterator[list[Item]]:
    """Lists of up to `size` of them, in order."""
    while batch := list(itertools.islice(items, size)):
        yield batch


def working_memory(network: NetworkConfig, inference: Inference, block: Triple, grey_bytes: int, depth: int) -> int:
    """Counts the most bytes that predicting a block takes: the block, its image, and one batch of patches.

    Args:
        network: network that is used.
        inference: way in which it is used.
        block: shape of a block, in voxels.
        grey_bytes: bytes of a stored grey value.
        depth: planes of a slab that is read.
    """
    z, y, x = (b + 2 * p for b, p in zip(block, inference.patch, strict=True))
    kept = 1 if grey_bytes == 1 else 4
    # A slab as it is read, as it is mirrored, and where in it there is image.
    image = (z * kept + min(z, depth) * (grey_bytes + kept + 1)) * y * x
    # The accumulator, the result, and at worst all of it in one slab.
    arrays = prod(block) * CHANNELS * (4 + 2) + image
    return arrays + aligned_batch(network, inference) * patch_memory(network, inference)


def aligned_batch(network: NetworkConfig, inference: Inference) -> int:
    """Returns how many patches a CPU computes together: at least as many as asked for, each of them in the same way.

    Torch computes ELU and sigmoid of `TOGETHER` numbers at once; those that are left over at the end of a thread's
    share are computed one by one, and round differently. A patch must not meet them in one place of a batch and not in
    another, so nothing may be left over. If that takes more than four times as many patches, each is computed alone.
    """
    if inference.batch == 1:
        return 1
    voxels, pooled = prod(inference.patch) // prod(network.stride), prod(network.pooling)
    sizes = [CHANNELS * prod(inference.patch), *(w * voxels // pooled**n for n, w in enumerate(network.widths))]
    unit = TOGETHER * lcm(*range(1, inference.threads + 1))
    fitting = (
        n for n in range(inference.batch, 4 * inference.batch + 1) if all(size * n % unit == 0 for size in sizes)
    )
    return next(fitting, 1)


def patch_memory(network: NetworkConfig, inference: Inference) -> int:
    """Returns the most bytes that one patch takes while it is computed."""
    patch = prod(inference.patch)
    # A module holds four feature maps at a time, the skips one more at each level, wider but smaller.
    features = patch // prod(network.stride) * max(network.widths[0], 1) * 4 * 6
    # With variants, there are those of the patch so far besides, and how many of them count.
    outputs = patch * (CHANNELS * 4 * (4 if inference.variants == 1 else 7) + 8)
    return features + outputs
