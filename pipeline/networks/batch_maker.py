"""Batches that are made beside a training, in another thread, and on a GPU in another stream."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeVar

import torch
from torch import Tensor


class HoldsTensors(Protocol):
    """Stands for an example that can name its arrays."""

    def tensors(self) -> list[Tensor]: ...


Drawn = TypeVar("Drawn", bound=HoldsTensors)


class BatchMaker:
    """Makes batches beside the training: on a GPU in a stream of their own, which does not wait for the steps.

    Args:
        device: on which examples are made.
    """

    def __init__(self, device: str) -> None:
        self._stream = torch.cuda.Stream() if device == "cuda" else None  # type: ignore[no-untyped-call]

    def make(self, draw: Callable[[], list[Drawn]]) -> list[Drawn]:
        """Returns the examples that are drawn, complete on their device."""
        if self._stream is None:
            return draw()
        with torch.cuda.stream(self._stream):
            examples = draw()
        self._stream.synchronize()  # this thread waits, not the one that trains
        return examples

    def take(self, examples: list[Drawn]) -> list[Drawn]:
        """Hands over examples, whose memory is not given to others before the training's stream has used them."""
        if self._stream is not None:
            for example in examples:
                for tensor in example.tensors():
                    tensor.record_stream(torch.cuda.current_stream())
        return examples
