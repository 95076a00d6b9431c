"""A network used on a volume, block by block, so that the result does not depend on the blocks.

Strategy: patches lie on one global grid (`PatchGrid`). A block computes every patch that touches it, in global order,
and adds the patch's weighted affinities, cropped to the block, to a float32 accumulator. What a voxel is made of, and
in which order it is added up, is therefore the same in whichever block the voxel lies. On a CPU the result is equal bit
for bit, given the same number of patches in a batch; a GPU's kernels may differ in the last bits.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from typing import Literal, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..geometry import Box, Triple
from .architecture import NetworkConfig, check_patch
from .engine import Engine, Precision, usable_device
from .network import ResidualSymmetricUNet
from .normalisation import Normalisation, as_tensor, holds_image
from .offsets import NEAREST
from .patches import PatchGrid, blending_weights
from .reading import Grey, Read, reading
from .variants import Combine, Count, look, variants_of

CHANNELS = len(NEAREST)
Item = TypeVar("Item")


@dataclass(frozen=True)
class Inference:
    """How a network is used.

    Args:
        patch: shape of a patch, in voxels: even, and divisible by the network's `multiple`.
        normalisation: of the volume's grey values.
        fill_value: grey value of voxels that hold no image; a patch that holds nothing else has affinity 0.
        batch: patches that are computed together on a CPU; from two on, torch takes its faster kernels for small maps.
            A GPU gets as many as it has memory for, at least these.
        device: "cpu" or "cuda"; "auto" is the GPU where torch can use one.
        precision: "bfloat16" computes the convolutions in it, by autocast.
        variants: in how many ways, flipped and transposed, each patch is looked at.
        combine: what becomes of the affinities that these find.
        compile: whether a CPU runs the network compiled; a GPU always does.
    """

    patch: Triple
    normalisation: Normalisation
    fill_value: float | None
    batch: int
    device: Literal["auto", "cpu", "cuda"]
    precision: Precision
    variants: Count
    combine: Combine
    compile: bool = False


class Predictor:
    """A trained network, made ready for inference: normalisations folded, only the nearest channels left.

    Args:
        network: with the nearest offsets first; it is changed and belongs to the predictor from here on.
        inference: how it is used.

    Raises:
        RequestError: the patch, or a variant of it, does not fit the network; or it has an odd length.
    """

    def __init__(self, network: ResidualSymmetricUNet, inference: Inference) -> None:
        self.inference, self.variants = inference, variants_of(inference.variants)
        for variant in self.variants:
            check_patch(variant.shape(inference.patch), network.config)
        self.device = usable_device() if inference.device == "auto" else inference.device
        self.grid = PatchGrid(inference.patch)
        z, y, x = (torch.from_numpy(blending_weights(length)).to(self.device) for length in inference.patch)
        self.weights = z[:, None, None] * y[:, None] * x
        memory = patch_memory(network.config, inference)
        batch, compiled = inference.batch, inference.compile
        self.engine = Engine(network, CHANNELS, self.device, inference.precision, memory, batch, compiled)

    def predict(self, read: Read, volume: Triple, block: Box, depth: int) -> NDArray[np.uint8]:
        """Affinities of a block (3, Z, Y, X) at once; see `slabs`."""
        return np.concatenate([found for _, found in self.slabs(read, volume, block, depth, block.shape[0])], axis=1)

    def slabs(
        self, read: Read, volume: Triple, block: Box, depth: int, found_depth: int
    ) -> Iterator[tuple[Box, NDArray[np.uint8]]]:
        """Affinities of a block in slabs along z, each as soon as no patch that is left changes it.

        Args:
            read: gives the grey values (Z, Y, X) of a box inside the volume; called for one slab after the other, in
                another thread, while patches are computed.
            volume: shape of the volume, in voxels.
            block: a box inside it.
            depth: planes of a slab that is read, such as those of the volume's chunks.
            found_depth: likewise of a slab of affinities.

        Yields:
            The voxels of a slab, and uint8 (3, Z, Y, X), round(255 · affinity), of their edges to the next lower voxel
            along z, y and x. Edges that leave the volume have a value, too, that means nothing.
        """
        total = torch.zeros((CHANNELS, *block.shape), device=self.device)
        slabs = deque(block.slabs(found_depth))
        with reading(read, volume, self.grid.span(block), depth) as image:
            boxes = (self.grid.box(index) for index in self.grid.touching(block))
            seen = ((box, image.patch(box)) for box in boxes)
            for batch in batched((patch for patch in seen if self._holds_image(patch[1])), self.engine.batch):
                ready = batch[0][0].start[0] + self.grid.rim[0]
                while slabs[0].stop[0] <= ready:
                    slab = slabs.popleft()
                    yield slab, _grey_levels(total, slab, block)
                for (box, _), affinities in zip(batch, self._compute([grey for _, grey in batch]), strict=False):
                    self._add(total, affinities, box, block)
        for slab in slabs:
            yield slab, _grey_levels(total, slab, block)

    def _holds_image(self, grey: Grey) -> bool:
        return bool(holds_image(grey, self.inference.fill_value).any())

    def _compute(self, patches: list[Grey]) -> Tensor:
        """Affinities (N, 3, Z, Y, X) of patches; the batch is always full, since kernels may depend on its size."""
        greys = [as_tensor(grey) for grey in patches]
        images = torch.zeros((self.engine.batch, 1, *self.inference.patch), dtype=greys[0].dtype)
        for image, grey in zip(images, greys, strict=False):
            image[0] = grey
        scaled = self.inference.normalisation.apply(images.to(self.device))
        return look(self.engine, scaled, self.variants, NEAREST, self.inference.combine)

    def _add(self, total: Tensor, affinities: Tensor, box: Box, block: Box) -> None:
        common = box.intersect(block)
        there, here = common.slices(box.start), common.slices(block.start)
        total[(slice(None), *here)] += affinities[(slice(None), *there)] * self.weights[there]


def _grey_levels(total: Tensor, slab: Box, block: Box) -> NDArray[np.uint8]:
    """Of a slab, in whose place in the total they are made; that is not needed any more."""
    found = total[(slice(None), *slab.slices(block.start))]
    return found.mul_(255).round_().clamp_(0, 255).to(torch.uint8).cpu().numpy()


def batched(items: Iterator[Item], size: int) -> Iterator[list[Item]]:
    """Lists of up to `size` of them, in order."""
    while batch := list(itertools.islice(items, size)):
        yield batch


def working_memory(network: NetworkConfig, inference: Inference, block: Triple, grey_bytes: int) -> int:
    """The most bytes that predicting a block takes, known in advance: the block, its image, and one batch of patches.

    Args:
        network: what is used.
        inference: how.
        block: shape of a block, in voxels.
        grey_bytes: bytes of a stored grey value.
    """
    image = prod(b + 2 * p for b, p in zip(block, inference.patch, strict=True)) * grey_bytes
    # The accumulator, the result, at worst all of it in one slab, and the reading of an image before it is mirrored.
    arrays = prod(block) * CHANNELS * (4 + 2) + 2 * image
    return arrays + inference.batch * patch_memory(network, inference)


def patch_memory(network: NetworkConfig, inference: Inference) -> int:
    """The most bytes that one patch takes while it is computed."""
    patch = prod(inference.patch)
    # A module holds four feature maps at a time, the skips one more at each level, wider but smaller.
    features = patch // prod(network.stride) * max(network.widths[0], 1) * 4 * 6
    # With variants, there are those of the patch so far besides, and how many of them count.
    outputs = patch * (CHANNELS * 4 * (4 if inference.variants == 1 else 7) + 8)
    return features + outputs
