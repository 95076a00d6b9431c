"""petavox turns an electron-microscopy volume into neurons, block by block, and says how wrong the result is."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from .pipeline.kernel_cache import find_kernel_cache
from .pipeline.version import __version__

if TYPE_CHECKING:
    from .pipeline.segment import segment as segment
    from .workflows.analysis.contact_graph import contact_graph as contact_graph
    from .workflows.api.networks import models as models
    from .workflows.api.networks import predict as predict
    from .workflows.api.networks import train as train
    from .workflows.api.pictures import picture as picture
    from .workflows.api.plans import plan as plan
    from .workflows.api.runs import open_run as open_run
    from .workflows.api.runs import run as run
    from .workflows.api.scores import evaluate as evaluate
    from .workflows.api.volumes import convert as convert
    from .workflows.api.volumes import open as open

find_kernel_cache()  # before any kernel is imported

_HOMES = {
    "contact_graph": ".workflows.analysis.contact_graph",
    "convert": ".workflows.api.volumes",
    "evaluate": ".workflows.api.scores",
    "models": ".workflows.api.networks",
    "open": ".workflows.api.volumes",
    "open_run": ".workflows.api.runs",
    "picture": ".workflows.api.pictures",
    "plan": ".workflows.api.plans",
    "predict": ".workflows.api.networks",
    "run": ".workflows.api.runs",
    "segment": ".pipeline.segment",
    "train": ".workflows.api.networks",
}

__all__ = ["__version__", *_HOMES]


def __dir__() -> list[str]:
    return __all__


def __getattr__(name: str) -> Any:
    # Loaded on first use: networks, compiled kernels and storage have no place in `import petavox`.
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name], __name__), name)
    raise AttributeError(f"module 'petavox' has no attribute {name!r}")
