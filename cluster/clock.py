"""Messages go out though the clock was set back.

Dask gathers messages for some milliseconds before it sends them (distributed.batched), until a time of the wall clock.
A clock that is set back by an hour within these would have them wait for an hour, and a worker's answer among them.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable

from distributed.batched import BatchedSend

_LOOK = 1.0  # seconds
_STEP = 0.1  # seconds back from which on a clock was set; it is slewed by less


async def send_whatever_the_clock(streams: Callable[[], Iterable[BatchedSend | None]]) -> None:
    """Watch the wall clock for ever; when it was set back, have what was gathered sent.

    Args:
        streams: those of this process; asked each time.
    """
    ahead = time.time() - time.monotonic()
    while True:
        await asyncio.sleep(_LOOK)
        before, ahead = ahead, time.time() - time.monotonic()
        if ahead < before - _STEP:
            for stream in filter(None, streams()):
                stream.next_deadline = None
                stream.waker.set()
