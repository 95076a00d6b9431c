"""The process of a worker job: a worker, kept alive and within its memory until its driver needs it no more."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import os
import time
from pathlib import Path

import dask
from distributed import Nanny
from distributed.core import Status
from distributed.utils import get_ip, get_ip_interface

from .. import credentials
from ..dask_executor import SETTINGS
from ..scratch import private_folder
from .folder import read_session

TIMEOUTS = {
    "distributed.comm.timeouts.connect": "30s",
    "distributed.comm.timeouts.tcp": "90s",  # a network may be away for a minute
}
_PATIENCE = 180.0  # seconds without a sign of life of the driver
_INTERVAL = 5.0


def main() -> None:
    """Run until the scheduler or the driver's sign of life is gone; that is no failure of the job."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--session", type=Path, required=True)
    parser.add_argument("--pool", required=True)
    parser.add_argument("--memory", type=int, required=True)
    given = parser.parse_args()
    logging.getLogger("distributed.nanny").setLevel(logging.INFO)  # tells how worker processes end
    with dask.config.set({**SETTINGS, **TIMEOUTS}):
        asyncio.run(_work(given.session, given.pool, given.memory))


async def _work(path: Path, pool: str, memory: int) -> None:
    session = read_session(path)
    if session is None:
        print("No driver is at work on this run: nothing to do.", flush=True)
        return
    security = credentials.security(str(path.with_name("key.pem")), str(path.with_name("certificate.pem")))
    job = f"{os.environ['SLURM_ARRAY_JOB_ID']}_{os.environ['SLURM_ARRAY_TASK_ID']}"
    scheduler = session["address"].rpartition("://")[2].rpartition(":")[0]
    nanny = Nanny(
        session["address"],
        name=f"{pool}-{job}",
        nthreads=1,
        memory_limit=memory,
        host=get_ip_interface(session["interface"]) if session.get("interface") else get_ip(scheduler),
        security=security,
        dashboard_address="127.0.0.1:0",
        preload=["petavox.cluster.worker"],
        death_timeout=60,
        local_directory=str(private_folder()),
    )
    try:
        await nanny
    except (TimeoutError, OSError, RuntimeError) as error:
        print(f"The driver at {session['address']} cannot be reached: {error}", flush=True)
    else:
        watch = asyncio.create_task(_watch(path, session["token"], nanny))
        await nanny.finished()
        watch.cancel()
    finally:
        with contextlib.suppress(Exception):
            await nanny.close(timeout=5)


async def _watch(path: Path, token: str, nanny: Nanny) -> None:
    """Close the worker once its driver shows no sign of life, or is another one."""
    beat, heard = 0, time.monotonic()
    while nanny.status not in (Status.closing, Status.closed):
        with contextlib.suppress(OSError):
            if (latest := path.stat().st_mtime_ns) != beat:
                beat, heard = latest, time.monotonic()
        session = read_session(path)
        if time.monotonic() - heard > _PATIENCE or (session is not None and session["token"] != token):
            print("The driver is gone.", flush=True)
            await nanny.close(timeout=5, reason="driver-is-gone")
        await asyncio.sleep(_INTERVAL)


if __name__ == "__main__":
    main()
