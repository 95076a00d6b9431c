"""Measurements, run from the root of the repository: `python -m benchmarks.kernels.kernels`."""

import sys

if sys.argv[:1] == ["-m"]:  # so it is while `python -m benchmarks.…` looks for its module, and not in tests
    from .harness.idle_trainings import pause

    pause()
