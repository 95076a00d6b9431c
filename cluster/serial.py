"""Runs calls one after the other in this process, pickling what goes in and out as other places must."""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable, Mapping
from typing import Any

from .executor import Completion, Function, PoolName
from .packing import pack, run_packed, unpack


class Serial:
    """Runs calls in this process: for debugging, for tests, and for volumes too small to share out."""

    dashboard: str | None = None

    def __init__(self, function: Function) -> None:
        self._function = function
        self._calls: deque[tuple[Hashable, bytes]] = deque()

    def capacity(self) -> Mapping[PoolName, int]:
        return {"cpu": 1, "gpu": 1}  # one after the other all the same

    def expect(self, ready: Mapping[PoolName, int]) -> None:
        return  # it cannot grow

    def submit(self, key: Hashable, pool: PoolName, *arguments: Any) -> None:
        self._calls.append((key, pack(self._function, arguments)))

    def completed(self, timeout: float) -> list[Completion]:
        if not self._calls:
            return []
        key, call = self._calls.popleft()
        return [Completion(key, *unpack(run_packed(call)))]

    def cancel(self) -> None:
        self._calls.clear()

    def close(self) -> None:
        self.cancel()
