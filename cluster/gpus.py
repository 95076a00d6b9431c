"""Finds the GPUs of this machine that a process may see, without the libraries that use them."""

from __future__ import annotations

import os
from pathlib import Path

_DEVICES = Path("/dev")


def visible_gpus() -> tuple[str, ...] | None:
    """Names the GPUs that this process may see; None where that cannot be told."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named is not None:
        return tuple(name for name in named.split(",") if name)
    count = len(list(_DEVICES.glob("nvidia[0-9]*")))
    return tuple(map(str, range(count))) or None
