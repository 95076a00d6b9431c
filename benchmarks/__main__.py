"""`make bench`: every benchmark that needs no data but the demo's.

snemi3d.toml is run by hand, as the README says: its data lie outside the repository.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
AFFINITIES = Path("demo") / "affinities.zarr"


def main() -> None:
    if not AFFINITIES.exists():
        sys.exit(f"The benchmarks take the demo's affinities, but {AFFINITIES} is missing: run `make demo` first.")
    results = Path("build") / "bench"
    results.mkdir(parents=True, exist_ok=True)
    arguments = [str(AFFINITIES), str(results / "blocks"), "--out", str(results / "blocks.json")]
    sys.exit(subprocess.run([sys.executable, "-P", str(HERE / "blocks.py"), *arguments]).returncode)


if __name__ == "__main__":
    main()
