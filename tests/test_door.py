"""`import petavox` is a lazy door: it shows the public names and nothing else, and loads what is asked for."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

import petavox

NAMES = [
    "__version__",
    "contact_graph",
    "convert",
    "evaluate",
    "models",
    "open",
    "open_run",
    "picture",
    "plan",
    "predict",
    "run",
    "segment",
    "train",
]


def test_the_door_shows_the_public_names_and_nothing_else():
    assert dir(petavox) == NAMES
    assert sorted(petavox.__all__) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_every_name_is_there(name):
    assert getattr(petavox, name)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="has no attribute 'segments'"):
        _ = petavox.segments


@pytest.mark.parametrize(
    ("names", "unneeded"),
    [
        (["open", "convert", "run", "open_run", "plan", "evaluate"], ["torch", "distributed", "matplotlib"]),
        (["models", "predict", "train", "picture"], ["torch", "distributed"]),
    ],
)
def test_a_name_loads_what_it_needs_when_it_is_called(names, unneeded):
    script = f"import json, sys, petavox\n[getattr(petavox, n) for n in {names}]\nprint(json.dumps([*sys.modules]))"
    done = subprocess.run([sys.executable, "-P", "-c", script], capture_output=True, text=True, check=True)
    assert set(json.loads(done.stdout)).isdisjoint(unneeded)
