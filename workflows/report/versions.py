"""Versions of what computed a run."""

from __future__ import annotations

import contextlib
import importlib.metadata
import platform

from ...pipeline.version import __version__


def versions() -> dict[str, str]:
    """Returns the versions of petavox, of Python and of the packages that compute here, by name."""
    names = ("numpy", "numba", "torch", "tensorstore", "zarr", "dask", "distributed", "pyarrow")
    known = {"petavox": __version__, "python": platform.python_version()}
    for name in names:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            known[name] = importlib.metadata.version(name)
    return known
