"""Runs a network on its device, made ready to answer quickly: folded, channels last, compiled where asked for.

A GPU that runs out of memory is given fewer patches at once; only a single patch that does not fit is an error.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import Tensor

from ..errors import RequestError
from .device import Name
from .layers import Foldable

log = logging.getLogger(__name__)

Precision = Literal["float32", "bfloat16"]
LARGEST_BATCH = 16
"""Patches that a GPU is given at most together."""
ENOUGH_BYTES = 2_400_000_000
"""Of patches that keep a GPU busy; with more, it only takes longer to find its fastest kernels."""


class Engine:
    """Turns patches into affinities.

    Args:
        network: it is changed and belongs to the engine from here on.
        channels: the first of its outputs, which alone are computed.
        device: where.
        precision: number format of the convolutions: by autocast on a CPU; on a GPU the weights have it, too.
        patch_bytes: memory that the network takes for one patch, about.
        batch: patches that a CPU is given together. A GPU gets at least as many, and up to `LARGEST_BATCH`, a power of
            two, where they keep it busy and half of its free memory holds them.
        compiled: whether the network is compiled first. That takes a GPU ten seconds or more in every process, and
            makes the shipped networks faster there by a tenth or not at all.
    """

    def __init__(
        self,
        network: Foldable,
        channels: int,
        device: Name,
        precision: Precision,
        patch_bytes: int,
        batch: int,
        compiled: bool = False,
    ) -> None:
        folded = network.fold(channels)
        self.device, self._precision = device, precision
        self._type = torch.bfloat16 if device == "cuda" and precision == "bfloat16" else torch.float32
        self._eager = folded.to(device=device, dtype=self._type, memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
        self._network: Callable[[Tensor], Tensor] = self._eager
        self.batch = self._together = batch
        if compiled:
            # Without the cache of graphs, which would unpickle files from a folder that is easily guessed.
            options: dict[str, str | int | bool | Callable[..., Any]] = {"fx_graph_cache": False}
            if device == "cpu":
                options["freezing"] = True
            self._network = torch.compile(self._eager, dynamic=False, options=options)
        if device == "cuda":
            torch.backends.cudnn.benchmark = True  # patches have one shape, so the fastest kernels are looked for once
            free, _ = torch.cuda.mem_get_info()
            fitting = max(1, min(LARGEST_BATCH, min(free // 2, ENOUGH_BYTES) // patch_bytes))
            self.batch = self._together = max(batch, 1 << fitting.bit_length() - 1)

    def __call__(self, patches: Tensor) -> Tensor:
        """Affinities (N, C, Z, Y, X) in [0, 1] of patches (N, 1, Z, Y, X) on the device.

        Where memory does not suffice, half as many are computed together, from then on.

        Raises:
            torch.OutOfMemoryError: it does not suffice for one patch.
            RequestError: a CPU's network cannot be compiled. It would have to be run as it is, and answer otherwise, in
                the last bits, than another worker's.
        """
        while True:
            try:
                answers = [self._answer(part) for part in torch.split(patches, self._together)]
                return answers[0] if len(answers) == 1 else torch.cat(answers)
            except torch.OutOfMemoryError:
                if self._together == 1:
                    raise
            self._together //= 2
            log.warning("Memory of the %s is short: %d patches are computed together.", self.device, self._together)
            torch.cuda.empty_cache()

    def _answer(self, patches: Tensor) -> Tensor:
        mixed = self.device == "cpu" and self._precision == "bfloat16"
        with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16, enabled=mixed):
            return self._logits(patches.to(self._type)).float().sigmoid_()

    def _logits(self, patches: Tensor) -> Tensor:
        try:
            return self._network(patches)
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:
            if self._network is self._eager or not _comes_from_compiler(error):
                raise
            reason = str(error).partition("\n")[0]
            if self.device == "cpu":
                raise RequestError(
                    "model.compile needs a C++ compiler on every worker, and the network cannot be compiled here: "
                    f"{reason} Install one (g++), or leave model.compile out."
                ) from error
            log.warning("The network cannot be compiled here, and is run as it is: %s", reason)
            self._network = self._eager
            return self._network(patches)


def _comes_from_compiler(error: RuntimeError) -> bool:
    """Tells whether a network could not be compiled; any other error is the network's or the device's own."""
    from torch._dynamo.exc import TorchDynamoException  # loaded when something was compiled, and slow to load

    return isinstance(error, TorchDynamoException)
