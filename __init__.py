"""petavox turns an electron-microscopy volume into neurons, block by block, and says how wrong the result is."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from .pipeline.version import __version__

if TYPE_CHECKING:
    from .pipeline.evaluation import evaluate as evaluate
    from .pipeline.segment import segment as segment
    from .workflows.analysis.contact_graph import contact_graph as contact_graph

__all__ = ["__version__", "contact_graph", "evaluate", "segment"]

_HOMES = {
    "segment": ".pipeline.segment",
    "evaluate": ".pipeline.evaluation",
    "contact_graph": ".workflows.analysis.contact_graph",
}


def __getattr__(name: str) -> Any:
    # Loaded on first use: compiled kernels have no place in `import petavox`.
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name], __name__), name)
    raise AttributeError(f"module 'petavox' has no attribute {name!r}")
