"""A clock that is set back holds up neither messages nor signs of life, and none that is set ends workers."""

from __future__ import annotations

import asyncio
import time
from types import SimpleNamespace

import pytest

pytest.importorskip("distributed")

from distributed import batched
from distributed.batched import BatchedSend
from tornado.ioloop import PeriodicCallback

from petavox.cluster import clock

HOUR = 3600.0


@pytest.fixture
def set_clock(monkeypatch):
    """Moves the wall clock by so many seconds."""
    true, ahead = time.time, [0.0]
    monkeypatch.setattr(time, "time", lambda: true() + ahead[0])
    monkeypatch.setattr(batched, "time", time.time)
    monkeypatch.setattr(clock, "_LOOK", 0.02)

    def move(seconds):
        ahead[0] += seconds

    return move


def outlived(body, watched=True, scheduler=None):
    """What a coroutine returns, beside the watch or without it."""

    async def both():
        watch = asyncio.create_task(clock.keep_clocks_monotonic(scheduler)) if watched else None
        await asyncio.sleep(0)  # it looks at the clock once
        result = await asyncio.wait_for(body(), 60)
        if watch:
            watch.cancel()
        return result

    return asyncio.run(both())


async def until(condition, watched):
    """Wait for that; without the watch nobody need wait for long, as it takes an hour."""
    for _ in range(10**6 if watched else 20):
        if condition():
            break
        await asyncio.sleep(0.01)


@pytest.mark.parametrize("watched", [True, False])
def test_what_dask_gathered_before_the_clock_was_set_back_is_sent_by_the_watch_alone(set_clock, watched):
    class Connection:
        written = ()

        async def write(self, messages, **kwargs):
            self.written = (*self.written, *messages)
            if messages == ["before"]:
                set_clock(-HOUR)
            return 1

        def closed(self):
            return False

    async def send():
        connection, stream = Connection(), BatchedSend(interval="10s")
        stream.start(connection)
        stream.send("before")
        await until(lambda: connection.written, True)
        stream.send("after")
        await until(lambda: len(connection.written) > 1, watched)
        return list(connection.written)

    assert outlived(send, watched) == (["before", "after"] if watched else ["before"])


@pytest.mark.parametrize("watched", [True, False])
def test_what_is_done_from_time_to_time_goes_on_by_the_watch_alone(set_clock, watched):
    async def tick():
        ticks = []

        def once():
            ticks.append(time.monotonic())
            if len(ticks) == 1:
                set_clock(-HOUR)

        periodic = PeriodicCallback(once, 10)
        periodic.start()
        await until(lambda: len(ticks) >= 5, watched)
        periodic.stop()
        return len(ticks)

    assert (outlived(tick, watched) >= 5) == watched


@pytest.mark.parametrize("step", [HOUR, -HOUR])
def test_workers_are_not_taken_for_dead_because_the_clock_was_set(set_clock, step):
    worker = SimpleNamespace(last_seen=time.time())

    async def wait():
        set_clock(step)
        await until(lambda: abs(worker.last_seen - time.time()) < HOUR / 2, True)

    outlived(wait, scheduler=SimpleNamespace(workers={"worker": worker}))
