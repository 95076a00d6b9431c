"""A plain script without a guard runs a recipe on workers, once, and shows plain lines."""

from __future__ import annotations

import subprocess
import sys

import numpy as np

import petavox

SCRIPT = """
import petavox

print("began")
run = petavox.run({"input.affinities": "affinities.zarr", "blocks.shape": (5, 20, 36)}, "on-workers", workers=2)
print(int(run.segmentation[:].max()))
"""


def test_a_script_needs_no_guard(small, tmp_path):
    (tmp_path / "affinities.zarr").symlink_to(small / "affinities.zarr")
    (tmp_path / "script.py").write_text(SCRIPT)
    done = subprocess.run(
        [sys.executable, "script.py"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
    )
    expected = petavox.segment(petavox.open(small / "affinities.zarr")[:])
    assert done.stdout.split() == ["began", str(expected.max())]
    assert "relabel: 4 of 4" in done.stderr
    np.testing.assert_array_equal(petavox.open_run(tmp_path / "on-workers").segmentation[:], expected)
