"""Calls and their results as bytes, so that every executor moves the same and refuses the same."""

from __future__ import annotations

import pickle
import traceback
from collections.abc import Sequence
from typing import Any

from .executor import Function


def pack(function: Function, arguments: Sequence[Any]) -> bytes:
    """A call as bytes; whatever pickle raises where it cannot be."""
    return pickle.dumps((function, arguments))


def run_packed(call: bytes) -> bytes:
    """What a worker does with a call: run it. An exception becomes its traceback, in text."""
    try:
        function, arguments = pickle.loads(call)
        return pickle.dumps((function(*arguments), None))
    except Exception:
        return pickle.dumps((None, traceback.format_exc()))


def unpack(result: bytes) -> tuple[Any, str | None]:
    """What a call returned, and the traceback of what it raised."""
    value, error = pickle.loads(result)
    return value, error
