"""A network used on a volume, block by block, so that the result does not depend on the blocks.

Strategy: patches lie on one global grid (`PatchGrid`). A block computes every patch that touches it, in global order,
and adds the patch's weighted affinities, cropped to the block, to a float32 accumulator. What a voxel is made of, and
in which order it is added up, is therefore the same in whichever block the voxel lies. On a CPU the result is equal bit
for bit, given the same number of patches in a batch; a GPU's kernels may differ in the last bits.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import prod
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..geometry import Box, Triple
from .network import NetworkConfig, ResidualSymmetricUNet, check_patch
from .normalisation import Normalisation
from .offsets import NEAREST
from .patches import PatchGrid, blending_weights, mirrored
from .variants import Combine, Count, look, variants_of

CHANNELS = len(NEAREST)


@dataclass(frozen=True)
class Inference:
    """How a network is used.

    Args:
        patch: shape of a patch, in voxels: even, and divisible by the network's `multiple`.
        normalisation: of the volume's grey values.
        fill_value: grey value of voxels that hold no image; a patch that holds nothing else has affinity 0.
        batch: patches that are computed together; from two on, torch takes its faster kernels for small maps.
        device: "cpu" or "cuda"; "auto" is the GPU where torch can use one.
        precision: "bfloat16" computes the convolutions in it, by autocast.
        variants: in how many ways, flipped and transposed, each patch is looked at.
        combine: what becomes of the affinities that these find.
    """

    patch: Triple
    normalisation: Normalisation
    fill_value: float | None
    batch: int
    device: Literal["auto", "cpu", "cuda"]
    precision: Literal["float32", "bfloat16"]
    variants: Count
    combine: Combine


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
        self.weights = [blending_weights(length) for length in inference.patch]
        folded = network.fold(CHANNELS)
        self.network = folded.to(device=self.device, memory_format=torch.channels_last_3d)  # type: ignore[call-overload]

    def predict(self, read: Callable[[Box], NDArray[np.generic]], volume: Triple, block: Box) -> NDArray[np.uint8]:
        """Affinities of a block.

        Args:
            read: gives the grey values (Z, Y, X) of a box inside the volume; asked once.
            volume: shape of the volume, in voxels.
            block: a box inside it.

        Returns:
            uint8 (3, Z, Y, X), round(255 · affinity), of the edges to the next lower voxel along z, y and x. Edges that
            leave the volume have a value, too, that means nothing.
        """
        span = self.grid.span(block)
        grey = read_mirrored(read, volume, span)
        total = np.zeros((CHANNELS, *block.shape), dtype=np.float32)
        boxes = (self.grid.box(index) for index in self.grid.touching(block))
        filled = (box for box in boxes if self._holds_image(grey[box.slices(span.start)]))
        for batch in batched(filled, self.inference.batch):
            for box, affinities in zip(batch, self._compute(grey, span, batch), strict=False):
                self._add(total, affinities, box, block)
        total *= 255
        return np.rint(total, out=total).clip(0, 255, out=total).astype(np.uint8)

    def _holds_image(self, grey: NDArray[np.generic]) -> bool:
        fill = self.inference.fill_value
        return fill is None or bool((grey != fill).any())

    def _compute(self, grey: NDArray[np.generic], span: Box, boxes: list[Box]) -> NDArray[np.float32]:
        """Affinities (N, 3, Z, Y, X) of patches; the batch is always full, since kernels may depend on its size."""
        inference = self.inference
        images = torch.zeros((inference.batch, 1, *inference.patch))
        for image, box in zip(images, boxes, strict=False):
            image[0] = torch.from_numpy(inference.normalisation.apply(grey[box.slices(span.start)]))
        with (
            torch.inference_mode(),
            torch.autocast(self.device, dtype=torch.bfloat16, enabled=inference.precision == "bfloat16"),
        ):
            affinities = look(self._look_once, images.to(self.device), self.variants, NEAREST, inference.combine)
        return affinities.cpu().numpy()

    def _look_once(self, images: Tensor) -> Tensor:
        return self.network(images).float().sigmoid_()  # type: ignore[no-any-return]

    def _add(self, total: NDArray[np.float32], affinities: NDArray[np.float32], box: Box, block: Box) -> None:
        common = box.intersect(block)
        z, y, x = common.slices(box.start)
        weights = [weight[part] for weight, part in zip(self.weights, (z, y, x), strict=True)]
        blended = affinities[:, z, y, x] * (weights[0][:, None, None] * weights[1][:, None] * weights[2])
        total[:, *common.slices(block.start)] += blended


def usable_device() -> Literal["cpu", "cuda"]:
    """The GPU where this process sees one that this build of torch can compute on, else the CPU."""
    if torch.cuda.is_available():
        with contextlib.suppress(RuntimeError):  # a GPU may be seen and still be too old, or be kept by others
            torch.ones(1, device="cuda").add(1).item()
            return "cuda"
    return "cpu"


def read_mirrored(read: Callable[[Box], NDArray[np.generic]], volume: Triple, span: Box) -> NDArray[np.generic]:
    """The grey values of a box that may reach outside the volume, which is mirrored there; read as one box."""
    indices = [mirrored(a, b, n) for a, b, n in zip(span.start, span.stop, volume, strict=True)]
    start = tuple(int(i.min()) for i in indices)
    inside = Box(start, tuple(int(i.max()) + 1 for i in indices))  # type: ignore[arg-type]
    grey = read(inside)
    return grey[np.ix_(*(i - a for i, a in zip(indices, start, strict=True)))]


def batched(boxes: Iterator[Box], size: int) -> Iterator[list[Box]]:
    """Lists of up to `size` of them, in order."""
    while batch := list(itertools.islice(boxes, size)):
        yield batch


def working_memory(network: NetworkConfig, inference: Inference, block: Triple, grey_bytes: int) -> int:
    """The most bytes that predicting a block takes, known in advance: the block, its image, and one batch of patches.

    Args:
        network: what is used.
        inference: how.
        block: shape of a block, in voxels.
        grey_bytes: bytes of a stored grey value.
    """
    patch = prod(inference.patch)
    image = prod(b + 2 * p for b, p in zip(block, inference.patch, strict=True)) * grey_bytes
    # The accumulator, the result, and the reading of an image before it is mirrored.
    arrays = prod(block) * CHANNELS * (4 + 1) + 2 * image
    # A module holds four feature maps at a time, the skips one more at each level, wider but smaller.
    features = patch // prod(network.stride) * max(network.widths[0], 1) * 4 * 6
    # With variants, there are those of the patch so far besides, and how many of them count.
    outputs = patch * (CHANNELS * 4 * (4 if inference.variants == 1 else 7) + 8)
    return arrays + inference.batch * (features + outputs)
