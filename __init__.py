"""petavox turns an electron-microscopy volume into neurons, block by block, and says how wrong the result is."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from .pipeline.kernel_cache import find_kernel_cache

if TYPE_CHECKING:
    from .pipeline.evaluation import evaluate as evaluate
    from .pipeline.segment import segment as segment
    from .workflows.graph import contact_graph as contact_graph

__version__ = "0.1.0"
__all__ = ["__version__", "contact_graph", "evaluate", "segment"]

find_kernel_cache()  # before any kernel is imported

_HOMES = {
    "segment": ".pipeline.segment",
    "evaluate": ".pipeline.evaluation",
    "contact_graph": ".workflows.graph",
}


def __getattr__(name: str) -> Any:
    # Loaded on first use: compiled kernels have no place in `import petavox`.
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name], __name__), name)
    raise AttributeError(f"module 'petavox' has no attribute {name!r}")
