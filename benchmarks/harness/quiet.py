"""Any command in the quiet that benchmarks have: idle trainings wait meanwhile.

    python -m benchmarks.harness.quiet COMMAND …

`python -m benchmarks.…` needs no more than its name: the package asks for quiet.
"""

from __future__ import annotations

import subprocess
import sys

if __name__ == "__main__":
    sys.exit(subprocess.run(sys.argv[1:], check=False).returncode)
