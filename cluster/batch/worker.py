"""Runs a worker job: a worker, kept alive and within its memory until its driver needs it no more."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import multiprocessing
import time
from pathlib import Path
from typing import Any

import dask
from distributed import Nanny
from distributed.core import Status
from distributed.utils import get_ip, get_ip_interface

from .. import credentials
from ..clock import outlive_settings_of_the_clock
from ..dask_executor import SETTINGS
from ..executor import worker_name
from ..scratch import private_folder
from .folder import read_session

TIMEOUTS = {
    "distributed.comm.timeouts.connect": "30s",
    "distributed.comm.timeouts.tcp": "90s",  # a network may be away for a minute
}
_PATIENCE = 180.0  # seconds without a sign of life of the driver
_INTERVAL = 2.0
_ENDING = (Status.closing_gracefully, Status.closing)


def main() -> None:
    """Run until the scheduler or the driver's sign of life is gone; that is no failure of the job."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--session", type=Path, required=True)
    parser.add_argument("--pool", required=True)
    parser.add_argument("--memory", type=int, required=True)
    parser.add_argument("--job", required=True, help="its id, as the queue lists it")
    given = parser.parse_args()
    logging.getLogger("distributed.nanny").setLevel(logging.INFO)  # tells how worker processes end
    with dask.config.set({**SETTINGS, **TIMEOUTS}):
        asyncio.run(_work(given.session, worker_name(given.pool, given.job), given.memory))


async def _work(path: Path, name: str, memory: int) -> None:
    session = read_session(path)
    if session is None or not await _answers(session["address"]):
        print("No driver is at work on this run: nothing to do.", flush=True)
        return
    try:
        nanny = await _nanny(path, session, name, memory)
    except (TimeoutError, OSError, RuntimeError) as error:
        print(f"The driver at {session['address']} cannot be reached: {error}", flush=True)
        return
    watches = [
        asyncio.create_task(_watch(path, session["token"], nanny)),
        asyncio.create_task(outlive_settings_of_the_clock()),
    ]
    await nanny.finished()
    for watch in watches:
        watch.cancel()


def _nanny(path: Path, session: dict[str, Any], name: str, memory: int) -> Nanny:
    """Keeps the worker alive, and within its memory."""
    interface = session["interface"]
    return Nanny(
        session["address"],
        name=name,
        nthreads=1,
        memory_limit=memory,
        host=get_ip_interface(interface) if interface else get_ip(_host_and_port(session["address"])[0]),
        security=credentials.security(str(path.with_name("key.pem")), str(path.with_name("certificate.pem"))),
        dashboard_address="127.0.0.1:0",
        preload=["petavox.cluster.worker"],
        death_timeout=60,
        local_directory=str(private_folder()),
    )


def _host_and_port(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition("://")[2].rpartition(":")
    return host.strip("[]"), int(port)


async def _answers(address: str) -> bool:
    """Tells whether anybody listens there; a network that is away for a moment is not taken for a no."""
    try:
        _, writer = await asyncio.wait_for(asyncio.open_connection(*_host_and_port(address)), 10)
    except ConnectionRefusedError:
        return False
    except OSError:
        return True
    writer.close()
    return True


async def _watch(path: Path, token: str, nanny: Nanny) -> None:
    """Kill the worker once it has lost its scheduler, or its driver shows no sign of life, or is another one.

    There is nobody then to hear of what it is at, so there is no use in letting it come to an end.
    """
    beat, heard = 0, time.monotonic()
    while True:
        with contextlib.suppress(OSError):
            if (latest := path.stat().st_mtime_ns) != beat:
                beat, heard = latest, time.monotonic()
        session = read_session(path)
        replaced = session is not None and session["token"] != token
        if replaced or nanny.status in _ENDING or time.monotonic() - heard > _PATIENCE:
            print("The driver is gone.", flush=True)
            for worker in multiprocessing.active_children():
                worker.kill()
            await nanny.close(timeout=5, reason="driver-is-gone")
        await asyncio.sleep(_INTERVAL)


if __name__ == "__main__":
    main()
