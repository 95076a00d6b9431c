"""Settings of every test, and the SLURM that some of them share."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from hypothesis import settings
from slurm import one_machine

import petavox

settings.register_profile("petavox", deadline=None)  # the first call of a kernel compiles it
settings.load_profile("petavox")


def pytest_collection_modifyitems(items):
    """Keeps the tests that share a SLURM in one process, where several run tests side by side."""
    for item in items:
        if item.get_closest_marker("slurm"):
            item.add_marker(pytest.mark.xdist_group("slurm"))


@pytest.fixture(scope="session")
def started_slurm():
    """A SLURM of the tests' own; another one that this machine may have is left alone."""
    try:
        started = one_machine.up()
    except one_machine.CannotStartError as reason:
        pytest.skip(f"no SLURM: {reason}")
    yield one_machine
    if started:
        one_machine.down()


@pytest.fixture(scope="session")
def slurm_environment(started_slurm):
    """What the environment of whoever submits jobs must say, so that these find SLURM, petavox and the fakes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SLURM_CONF", str(started_slurm.CONF))
        folders = [str(Path(__file__).parent), str(Path(petavox.__file__).parent.parent), os.environ.get("PYTHONPATH")]
        patch.setenv("PYTHONPATH", os.pathsep.join(filter(None, folders)))
        patch.setenv("PATH", os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))
        yield started_slurm
