"""A GPU without values: torch's `meta` device, on which an operation that mixes it with the CPU raises, as on a GPU.

Torch's own checks of `meta` let pass what a GPU would not, such as a convolution with weights of the CPU; here every
operation is looked at. What is fetched from the device arrives: numbers are zero, and conditions hold.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from petavox.pipeline.networks.device import Device

GPU = "meta"
ATEN = torch.ops.aten
INDICES = (ATEN.index, ATEN.index_put, ATEN.index_put_, ATEN._index_put_impl_)  # a GPU fetches those of the CPU


class EmptyGPU(TorchDispatchMode):
    """While it is entered, in this thread: refuses operations on arrays of both devices, counts those on the GPU."""

    def __init__(self) -> None:
        super().__init__()
        self.operations = 0
        self._here = threading.local()

    def __torch_dispatch__(self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        kwargs, kind = kwargs or {}, function.overloadpacket
        tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)]
        if not any(tensor.device.type == GPU for tensor in tensors):
            return function(*args, **kwargs)
        with self:
            parts = function.decompose(*args, **kwargs)  # in inference mode, operations arrive that consist of others
        if parts is not NotImplemented:
            return parts
        self.operations += 1
        if kind is ATEN._local_scalar_dense:
            return 0.0 if args[0].dtype.is_floating_point else 0
        if kind is ATEN._to_copy and torch.device(kwargs.get("device") or args[0].device).type == "cpu":
            kind_of_value = kwargs.get("dtype") or args[0].dtype
            return torch.full(args[0].shape, kind_of_value is torch.bool, dtype=kind_of_value)
        if kind is ATEN.copy_:
            return args[0].zero_() if args[0].device.type == "cpu" else args[0]
        arrays = [tensor for tensor in tensors if tensor.device.type != GPU and tensor.dim()]  # numbers travel
        if arrays and kind not in INDICES and kind is not ATEN._to_copy:
            shapes = ", ".join(f"{tensor.device.type} {tuple(tensor.shape)}" for tensor in tensors)
            raise RuntimeError(f"Expected all tensors to be on the same device: {function} of {shapes}.")
        return function(*args, **kwargs)

    def throughout(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """A function after whose first call a thread stays in this mode until it ends."""

        def called(*args: Any) -> Any:
            if threading.current_thread() is not threading.main_thread() and not hasattr(self._here, "entered"):
                self._here.entered = self.__enter__()
            return function(*args)

        return called


class EmptyDevice(Device):
    """Where a network computes, without pinned memory and streams."""

    def upload(self, array: torch.Tensor) -> torch.Tensor:
        return array.to(GPU)

    def download(self, tensor: torch.Tensor) -> Callable[[], Any]:
        return tensor.cpu().numpy
