import json
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]


def test_settings_are_judged_with_the_thresholds_beside_them_and_never_at_an_end(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT))
    from benchmarks.accuracy.fib25 import errors_around

    errors = {"mean": [0.3, 0.1, 0.2, 0.6], "quantile": [0.2, 0.2, 0.2, 0.2]}
    keys = {
        (linkage, n): json.dumps({"threshold": 0.1 * n, "linkage": linkage}) for linkage in errors for n in range(4)
    }
    found = errors_around({key: np.array([errors[k][n], errors[k][n] + 0.2]) for (k, n), key in keys.items()})
    assert found == {
        keys["mean", 1]: pytest.approx(0.3),
        keys["mean", 2]: pytest.approx(0.4),
        keys["quantile", 1]: pytest.approx(0.3),
        keys["quantile", 2]: pytest.approx(0.3),
    }
