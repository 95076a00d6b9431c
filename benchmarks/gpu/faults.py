"""Steps that go wrong in every way, for the rehearsal."""

from __future__ import annotations

import os
import time
from typing import Any

from on_gpu import Setting


def raises(setting: Setting) -> dict[str, Any]:
    raise RuntimeError("CUDA error: an illegal memory access was encountered")


def hangs(setting: Setting) -> dict[str, Any]:
    time.sleep(600)
    return {}


def crashes(setting: Setting) -> dict[str, Any]:
    os._exit(139)


def talks(setting: Setting) -> dict[str, Any]:
    for number in range(20000):
        print(f"line {number} of very many, none of which must fill what comes back")
    return {"lines": 20000}
