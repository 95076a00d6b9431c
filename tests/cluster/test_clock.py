"""A clock that is set back does not hold messages up."""

from __future__ import annotations

import asyncio
import time

import pytest

pytest.importorskip("distributed")

from distributed import batched
from distributed.batched import BatchedSend

from petavox.cluster import clock


class SettingBack:
    """A connection during whose first message the wall clock is set back by an hour."""

    def __init__(self, set_back):
        self.written, self._set_back = [], set_back

    async def write(self, messages, **kwargs):
        if not self.written:
            self._set_back()
        self.written += messages
        return 1

    def closed(self):
        return False


def test_what_dask_gathered_before_the_clock_was_set_back_is_sent(monkeypatch):
    true, back = time.time, [0.0]
    monkeypatch.setattr(time, "time", lambda: true() - back[0])
    monkeypatch.setattr(batched, "time", time.time)
    monkeypatch.setattr(clock, "_LOOK", 0.05)

    async def send():
        watched, unwatched = (BatchedSend(interval="10s") for _ in range(2))
        watch = asyncio.create_task(clock.send_whatever_the_clock(lambda: [None, watched]))
        await asyncio.sleep(0)  # it looks at the clock once
        comms = [SettingBack(lambda: back.__setitem__(0, 3600.0)) for _ in range(2)]
        for stream, comm in zip((watched, unwatched), comms, strict=True):
            stream.start(comm)
            stream.send("before")
        while not all(comm.written for comm in comms):
            await asyncio.sleep(0)
        for stream in (watched, unwatched):
            stream.send("after")
        while len(comms[0].written) < 2:
            await asyncio.sleep(0.01)
        watch.cancel()
        return [comm.written for comm in comms]

    assert asyncio.run(asyncio.wait_for(send(), 60)) == [["before", "after"], ["before"]]
