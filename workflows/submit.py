"""Leads queued jobs of runs that were submitted before `submit` moved to its driver; goes with the next release."""

import sys
from pathlib import Path

from .runs.submit import drive

if __name__ == "__main__":
    sys.exit(drive(Path(sys.argv[1])))
