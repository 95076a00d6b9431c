"""Several processes that train one network, each on its share of every batch: torch's distributed data parallel.

The result is that of one process with the whole batch, up to rounding: the classes are balanced, and the feature maps
normalised, over the patches of all processes.
"""

from __future__ import annotations

import contextlib
import datetime
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed
from torch import Tensor, nn

from ..errors import RequestError
from .layers import NormalisedConvolution

PATIENCE = datetime.timedelta(hours=2)
"""How long a process waits for the others, one of which may be validating."""


@dataclass(frozen=True)
class Processes:
    """Names this process among those that train one network together.

    Args:
        number: number of this process, from 0 on; number 0 validates and writes.
        count: number of processes.
    """

    number: int = 0
    count: int = 1

    @property
    def first(self) -> bool:
        return self.number == 0

    def share(self, batch: int) -> range:
        """Returns the patches of a batch that are this process's.

        Raises:
            RequestError: the processes would not get the same number.
        """
        if batch % self.count:
            raise RequestError(
                f"The batch must be divisible by the number of processes, found {batch} patches for {self.count} "
                f"processes. The next larger batch that is: {-(-batch // self.count) * self.count}."
            )
        return range(self.number, batch, self.count)

    def total(self, found: Tensor) -> Tensor:
        """Returns the sum over all processes, through which no gradient flows."""
        if self.count == 1:
            return found
        found = found.detach().clone()
        torch.distributed.all_reduce(found)
        return found

    def parallel(self, network: nn.Module) -> nn.Module:
        """Returns the network so that its gradients are the means over all processes; itself where there is one."""
        if self.count == 1:
            return network
        share_normalisation(network)
        return nn.parallel.DistributedDataParallel(network)


def current_processes() -> Processes:
    """Returns the processes that have been joined, or this one alone."""
    if not torch.distributed.is_initialized():
        return Processes()
    return Processes(torch.distributed.get_rank(), torch.distributed.get_world_size())


@contextlib.contextmanager
def joined_processes(device: str) -> Iterator[Processes]:
    """Joins the processes that torchrun has started; without torchrun this one stays alone.

    Args:
        device: "cpu" or "cuda"; of several GPUs of a machine each process takes one.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield Processes()
        return
    if device == "cuda":
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    torch.distributed.init_process_group("nccl" if device == "cuda" else "gloo", timeout=PATIENCE)
    try:
        yield current_processes()
    finally:
        torch.distributed.destroy_process_group()


class Sum(torch.autograd.Function):
    """Adds up a tensor over all processes, each of which needs the gradients that all of them find for it."""

    @staticmethod
    def forward(ctx: Any, found: Tensor) -> Tensor:
        total = found.clone()
        torch.distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        total = gradient.clone()
        torch.distributed.all_reduce(total)
        return total


class SharedBatchNorm(nn.BatchNorm3d):
    """Normalises by the patches of all processes, on any device; torch's SyncBatchNorm asks for a GPU.

    All processes must have patches of one shape.
    """

    running_mean: Tensor
    running_var: Tensor
    num_batches_tracked: Tensor
    momentum: float

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return super().forward(x)
        axes, values = (0, 2, 3, 4), x.float()
        count = torch.distributed.get_world_size() * values.numel() / values.shape[1]
        sums = torch.stack([values.sum(axes), values.square().sum(axes)])
        mean, square = Sum.apply(sums) / count  # type: ignore[no-untyped-call]
        variance = (square - mean.square()).clamp(min=0)
        with torch.no_grad():
            self.num_batches_tracked.add_(1)
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(variance * count / (count - 1), self.momentum)
        scale = self.weight * torch.rsqrt(variance + self.eps)
        shape = (-1, 1, 1, 1)
        return torch.addcmul((self.bias - mean * scale).reshape(shape), values, scale.reshape(shape)).to(x.dtype)


def share_normalisation(network: nn.Module) -> None:
    """Normalises by the patches of all processes, in place; weights and statistics keep their names and values."""
    for layer in network.modules():
        if isinstance(layer, NormalisedConvolution) and isinstance(layer.norm, nn.BatchNorm3d):
            shared = SharedBatchNorm(layer.norm.num_features).to(layer.norm.weight.device)
            shared.load_state_dict(layer.norm.state_dict())
            layer.norm = shared
