"""The command line: `petavox …`. Every command imports what it needs when it runs, so that `--help` is quick."""

from __future__ import annotations

import os
import signal
import sys
from types import FrameType
from typing import NoReturn

from . import data_commands, model_commands, run_commands  # which registers them
from .app import DEBUG, app

__all__ = ["app", "data_commands", "main", "model_commands", "run_commands"]


def main() -> NoReturn:
    """Runs a command; exit status 0: done; 1: blocks failed; 2: the request or the disk must change; 130: stopped."""
    signal.signal(signal.SIGTERM, _stop)
    if "--debug" in sys.argv:
        sys.argv.remove("--debug")
        os.environ[DEBUG] = "1"
    app(prog_name="petavox")
    sys.exit(0)


def _stop(signal_number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt
