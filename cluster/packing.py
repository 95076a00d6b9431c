"""Calls and their results as bytes, so that every executor moves the same and refuses the same."""

from __future__ import annotations

import pickle
import traceback
from collections.abc import Sequence
from typing import Any

from .executor import Function


def pack(function: Function, arguments: Sequence[Any]) -> bytes:
    """Turns a call into bytes; raises whatever pickle raises where it cannot."""
    return pickle.dumps((function, arguments))


def run_packed(call: bytes) -> bytes:
    """Runs a call on its worker. An exception becomes its traceback, in text."""
    try:
        function, arguments = pickle.loads(call)
        return pickle.dumps((function(*arguments), None))
    except Exception:
        return pickle.dumps((None, traceback.format_exc()))


def unpack(result: bytes) -> tuple[Any, str | None]:
    """Unpacks the value that a call returned, and the traceback of what it raised."""
    value, error = pickle.loads(result)
    return value, error
