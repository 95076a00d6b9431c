"""One input of the fuzzer: a foreign file, what befalls it, and what we and independent readers make of it."""

from __future__ import annotations

import itertools
import random
import shutil
import signal
import tempfile
import warnings
from pathlib import Path

import numpy as np

from petavox.pipeline.errors import RequestError, StorageError
from petavox.pipeline.geometry import Box
from petavox.workflows.conversion.options import SourceOptions
from petavox.workflows.conversion.sources import open_source

from .mutations import WRITERS, draw_voxels, mutate
from .readers import MOST

PATIENCE = 10
"""Seconds that an input may take."""
OPTIONS = SourceOptions(voxel_size=(30.0, 6.0, 6.0))


class HangError(BaseException):
    """An input took too long. It is no Exception, so that nobody takes it for a damaged file."""


def _ring(*_):
    raise HangError


def ours(path):
    """The voxels that we read of a source, the box that was read, and whether it is all; None where it is refused.

    Raises:
        HangError: it takes longer than it may.
    """
    before = signal.signal(signal.SIGALRM, _ring)
    signal.alarm(PATIENCE)
    try:
        with open_source(path, OPTIONS) as source:
            small = source.box.voxels * (source.channels or 1) <= MOST
            box = source.box if small else source.box.intersect(Box((0, 0, 0), (16, 16, 16)))
            if box.voxels * (source.channels or 1) > 100 * MOST:
                return None  # no box is small enough to be read here; convert refuses it
            return source.read(box), box, small
    except (RequestError, StorageError):
        return None
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def theirs(reader, path, box):
    """An independent reader's voxels of the same box; None where it does not read it."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            array = reader(path)
            return array if array.size == box.voxels else array[box.slices()]
    except Exception:
        return None


def is_same(one, other):
    """Whether two arrays are equal; the axes of the second may have been named in another order."""
    ways = itertools.permutations(range(other.ndim))
    return any(np.array_equal(one, other.transpose(way), equal_nan=one.dtype.kind == "f") for way in ways)


def check(number):
    """Try input number `number`: whether it was read or refused once something had befallen it.

    It is "unjudged" where its voxels were damaged so that no independent reader decodes them and ours does, and where
    it claims to be too large to be read as a whole.

    Raises:
        AssertionError: it reads otherwise than by any independent reader, or cannot be read as it was written.
        Exception: and whatever else the reading raised that is no refusal.
    """
    draw = random.Random(number)
    write, independent = WRITERS[draw.choice(sorted(WRITERS))]
    voxels = draw_voxels(draw)
    folder = Path(tempfile.mkdtemp(prefix="fuzz-"))
    try:
        path, voxels = write(folder / "em", voxels, draw)
        whole = ours(path)
        assert whole is not None, f"input {number} is refused as it was written"
        assert np.array_equal(whole[0], voxels), f"input {number} is not read as it was written"
        mutate(path, draw)
        found = ours(path)
        if found is None:
            return "refused"
        answers = [theirs(reader, path, found[1]) for reader in independent]
        same = [a is not None and is_same(found[0], a) for a in answers]
        as_before = (found[0].shape, found[0].dtype) == (voxels.shape, voxels.dtype)
        if (as_before or not found[2]) and not any(a is not None for a in answers):
            return "unjudged"
        shapes = [None if a is None else f"{a.dtype} {a.shape}" for a in answers]
        assert any(same) or np.array_equal(found[0], voxels), (
            f"input {number} reads as {found[0].dtype} {found[0].shape}, others read {shapes}"
        )
        return "read"
    finally:
        shutil.rmtree(folder)
