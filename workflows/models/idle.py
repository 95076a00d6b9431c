"""Trains while nobody else needs the machine: what `petavox train --idle` asks for, and the lowest priority.

Torch must not be loaded yet when the priority is lowered: threads take theirs from the thread that starts them.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import psutil

from ...pipeline.affinities.training_config import ENDLESS

IDLE = (
    'training.schedule="constant"',
    "training.anneal=0",
    f"training.steps={ENDLESS}",
    "training.save_minutes=5.0",
)
"""Keys of a recipe as an idle training has them, unless the command line has others."""


def lower_priority() -> None:
    """Gives this process, and what it starts, only the time of processors and disks that no other process wants."""
    try:
        for thread in Path("/proc/self/task").iterdir():
            os.sched_setscheduler(int(thread.name), os.SCHED_IDLE, os.sched_param(0))
    except (AttributeError, OSError):  # no Linux, or a container that forbids it
        with contextlib.suppress(OSError):
            os.nice(19)
    with contextlib.suppress(AttributeError, OSError, psutil.Error):
        psutil.Process().ionice(psutil.IOPRIO_CLASS_IDLE)
