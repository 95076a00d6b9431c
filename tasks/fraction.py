"""Lets a task that takes long tell how far it is, whoever runs it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from contextvars import ContextVar

Listener = Callable[[float], None]

_listener: ContextVar[Listener | None] = ContextVar("listener", default=None)


def tell(fraction: float) -> None:
    """Tells the share of the task that is done, from 0 to 1; nothing happens where nobody listens."""
    listener = _listener.get()
    if listener is not None:
        listener(fraction)


@contextlib.contextmanager
def told_to(listener: Listener) -> Iterator[None]:
    """Has a listener told of the share of the task that this thread runs."""
    token = _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(token)
