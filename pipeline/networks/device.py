"""Where a network computes, and how arrays get there and back: one class for a GPU and for the CPU, its twin.

On a GPU, arrays travel through pinned memory: up in a stream of their own, so that reading never waits for patches that
are being computed, and down behind those, so that the next patches never wait for writing. On the CPU, they are there.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, Literal

import torch
from numpy.typing import NDArray
from torch import Tensor

Name = Literal["cpu", "cuda"]


def usable_device() -> Name:
    """Returns the GPU where this process sees one that this build of torch can compute on, else the CPU."""
    if torch.cuda.is_available():
        with contextlib.suppress(RuntimeError):  # a GPU may be seen and still be too old, or be kept by others
            torch.ones(1, device="cuda").add(1).item()
            return "cuda"
    return "cpu"


class Device:
    """Stands for the CPU, or for the GPU that this process sees.

    Args:
        name: "cpu" or "cuda".
    """

    def __init__(self, name: Name) -> None:
        self.name = name
        self._uploads: torch.cuda.Stream | None = torch.cuda.Stream() if name == "cuda" else None  # type: ignore[no-untyped-call]

    def uploading(self) -> AbstractContextManager[Any]:
        """Returns a context in which this thread's work waits for no computing; it ends with `uploaded`."""
        return contextlib.nullcontext() if self._uploads is None else torch.cuda.stream(self._uploads)

    def uploaded(self) -> None:
        """Waits until all uploads are done, so that any thread may use them."""
        if self._uploads is not None:
            self._uploads.synchronize()

    def upload(self, array: Tensor) -> Tensor:
        """Copies an array of the CPU to this device; on the CPU, returns it as it is."""
        return array if self._uploads is None else array.pin_memory().to(self.name, non_blocking=True)

    def download(self, tensor: Tensor) -> Callable[[], NDArray[Any]]:
        """Starts to copy an array from this device; calling the result, in any thread, waits for it."""
        if self._uploads is None:
            return tensor.numpy
        pinned = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
        pinned.copy_(tensor, non_blocking=True)
        arrived = torch.cuda.Event(blocking=True)  # type: ignore[no-untyped-call]
        arrived.record()

        def wait() -> NDArray[Any]:
            arrived.synchronize()
            return pinned.numpy()

        return wait

    def settle(self) -> None:
        """Waits for everything that was asked of this device."""
        if self._uploads is not None:
            torch.cuda.synchronize()
