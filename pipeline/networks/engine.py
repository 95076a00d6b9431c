"""A network on its device, made ready to answer quickly: folded, channels last, compiled on a GPU and where that is
asked for, and never for want of memory."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import Tensor

from ..errors import RequestError
from .layers import Foldable

log = logging.getLogger(__name__)

Device = Literal["cpu", "cuda"]
Precision = Literal["float32", "bfloat16"]
LARGEST_BATCH = 16
"""Patches that a GPU is given at most together."""


def usable_device() -> Device:
    """The GPU where this process sees one that this build of torch can compute on, else the CPU."""
    if torch.cuda.is_available():
        with contextlib.suppress(RuntimeError):  # a GPU may be seen and still be too old, or be kept by others
            torch.ones(1, device="cuda").add(1).item()
            return "cuda"
    return "cpu"


class Engine:
    """Patches in, affinities out.

    Args:
        network: it is changed and belongs to the engine from here on.
        channels: the first of its outputs, which alone are computed.
        device: where.
        precision: of the convolutions, by autocast.
        patch_bytes: what the network takes for one patch, about.
        batch: patches that a CPU is given together. A GPU gets at least as many, and up to `LARGEST_BATCH` where half
            of its free memory holds them.
        compiled: whether a CPU runs the network compiled, too.
    """

    def __init__(
        self,
        network: Foldable,
        channels: int,
        device: Device,
        precision: Precision,
        patch_bytes: int,
        batch: int,
        compiled: bool = False,
    ) -> None:
        folded = network.fold(channels)
        self.device, self._precision = device, precision
        self._eager = folded.to(device=device, memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
        self._network: Callable[[Tensor], Tensor] = self._eager
        self.batch = self._together = batch
        if device == "cuda" or compiled:
            # Without the cache of graphs, which would unpickle files from a folder that is easily guessed.
            options: dict[str, str | int | bool | Callable[..., Any]] = {"fx_graph_cache": False}
            if device == "cpu":
                options["freezing"] = True
            self._network = torch.compile(self._eager, dynamic=False, options=options)
        if device == "cuda":
            torch.backends.cudnn.benchmark = True  # patches have one shape, so the fastest kernels are looked for once
            free, _ = torch.cuda.mem_get_info()
            self.batch = self._together = max(batch, min(LARGEST_BATCH, free // 2 // patch_bytes))

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
                return torch.cat([self._answer(part) for part in torch.split(patches, self._together)])
            except torch.OutOfMemoryError:
                if self._together == 1:
                    raise
            self._together //= 2
            log.warning("Memory of the %s is short: %d patches are computed together.", self.device, self._together)
            torch.cuda.empty_cache()

    def _answer(self, patches: Tensor) -> Tensor:
        with (
            torch.inference_mode(),
            torch.autocast(self.device, dtype=torch.bfloat16, enabled=self._precision == "bfloat16"),
        ):
            return self._logits(patches).float().sigmoid_()

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
    """Whether a network could not be compiled; any other error is the network's or the device's own."""
    from torch._dynamo.exc import TorchDynamoException  # loaded when something was compiled, and slow to load

    return isinstance(error, TorchDynamoException)
