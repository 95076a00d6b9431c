"""A wall clock that is set while a run is at work does no harm to it.

Dask goes by the wall clock: messages are gathered for milliseconds, but until a time (distributed.batched); workers
say every half second that they live, but at a time (tornado's PeriodicCallback); and who has not said so for minutes is
taken for dead. A clock that is set back by an hour would have all of them wait for an hour, one that is set forward
would end every worker.
"""

from __future__ import annotations

import asyncio
import gc
import time

from distributed import Scheduler
from distributed.batched import BatchedSend
from tornado.ioloop import IOLoop, PeriodicCallback

_LOOK = 1.0  # seconds
_STEP = 0.1  # seconds by which a clock was set and not slewed


async def keep_clocks_monotonic(scheduler: Scheduler | None = None) -> None:
    """Watch the wall clock for ever; when it was set, have everything of this event loop go by what it says now.

    Args:
        scheduler: its workers are then taken to have shown life just now.
    """
    ahead = time.time() - time.monotonic()
    while True:
        await asyncio.sleep(_LOOK)
        before, ahead = ahead, time.time() - time.monotonic()
        if abs(ahead - before) > _STEP:
            _begin_anew(IOLoop.current())
            for worker in scheduler.workers.values() if scheduler else ():
                worker.last_seen = time.time()


def _begin_anew(loop: IOLoop) -> None:
    """Send what was gathered, and start what is done from time to time again. Nobody has a list of these."""
    for thing in gc.get_objects():
        kind = type(thing)  # of an object that stands for another one, isinstance would ask that one
        if issubclass(kind, BatchedSend) and thing.loop is loop:
            thing.next_deadline = None
            thing.waker.set()
        elif issubclass(kind, PeriodicCallback) and thing.is_running() and thing.io_loop is loop:
            thing.stop()
            thing.start()
